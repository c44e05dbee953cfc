"""The rules: each looks at one member's run for one kind of finding."""

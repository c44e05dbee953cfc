"""The rows a network trains on: checked, weighted, brought to the device, cut into minibatches.

`inputs` checks what the user gives, `loading` makes `Data` of it, `orders` gives the minibatches of
an epoch. `stream` reads rows that do not fit in memory; `tables` and `datasets` read files.
"""

"""Why a run went as it did: findings, read off its history, its probes and its network."""

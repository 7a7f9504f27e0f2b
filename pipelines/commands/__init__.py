"""The commands of execintel: one file a command or family, assembled by pipelines/cli.py."""

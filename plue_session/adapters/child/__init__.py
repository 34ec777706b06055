"""Child processes: a command that cannot outlive this process (`guard`), and one that is kept running (`child`)."""

"""plue_session: AI-coding sessions behind a C ABI."""

__version__ = "0.1.0"

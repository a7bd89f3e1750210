"""`python -m glow`: use a trained model from the shell."""

from glow.apps.cli import app

if __name__ == "__main__":
    app()

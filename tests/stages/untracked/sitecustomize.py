"""Python reads this at its start: a process without MLflow, whose import takes seconds."""

import sys

sys.modules["mlflow"] = None

"""How busy the machine is while a training runs, under the names of MLflow's system metrics.

MLflow's own monitor sends from a thread, and needs a server that answers. This one only looks, and
the training hands over what was seen together with its learning curves.
"""

import time
from collections.abc import Callable
from threading import Event, Thread
from types import TracebackType
from typing import Any

import psutil  # type: ignore[import-untyped]  # has no types

from glow.parallel import rank
from stages.delivery import warn
from stages.run import Run

SECONDS = 10.0  # between two looks, as MLflow's monitor has it
MB = 1e6

Look = Callable[[], dict[str, float]]


class Machine:
    """Inside, a thread looks at the machine; the first process has one, the others do nothing.

    Args:
        run: what `report` and the end report to, in the thread that calls.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._seen: list[tuple[int, dict[str, float]]] = []
        self._count = 0
        self._ended = Event()
        self._thread = Thread(target=self._watch, name="machine", daemon=True)

    def __enter__(self) -> "Machine":
        if rank() == 0:
            self._looks: list[Look] = [_processor, _disk, _network(), *_gpus()]
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if rank() == 0:
            self._ended.set()
            self._thread.join(SECONDS)  # a driver may hang, and the training is done
            self.report()

    def report(self) -> None:
        """Reports what was seen since the last time."""
        seen, self._seen = self._seen, []
        for taken, values in seen:
            self._run.metrics(values, self._count, taken=taken)
            self._count += 1

    def _watch(self) -> None:
        psutil.cpu_percent()  # a thread's first answer is 0, for no time has passed
        while True:
            ended = self._ended.wait(SECONDS)
            self._look()  # once more at the end, so that a short training has been seen too
            if ended:
                return

    def _look(self) -> None:
        values: dict[str, float] = {}
        for look in list(self._looks):
            try:
                values |= look()
            except Exception as error:  # of a container, a driver: nothing to stop a training for
                self._looks.remove(look)
                warn(f"some of the machine's load is not reported: {error}")
        named = {f"system/{name}": value for name, value in values.items()}
        self._seen.append((time.time_ns() // 1_000_000, named))


def _processor() -> dict[str, float]:
    memory = psutil.virtual_memory()
    return {
        "cpu_utilization_percentage": psutil.cpu_percent(),
        "system_memory_usage_megabytes": memory.used / MB,
        "system_memory_usage_percentage": memory.used / memory.total * 100,
    }


def _disk() -> dict[str, float]:
    """Of the disk that the project is on."""
    usage = psutil.disk_usage(".")
    return {
        "disk_usage_percentage": usage.percent,
        "disk_usage_megabytes": usage.used / MB,
        "disk_available_megabytes": usage.free / MB,
    }


def _network() -> Look:
    """Since the beginning; a machine without network devices counts nothing."""
    before = psutil.net_io_counters()

    def look() -> dict[str, float]:
        now = psutil.net_io_counters()
        if before is None or now is None:
            return {}
        return {
            "network_receive_megabytes": (now.bytes_recv - before.bytes_recv) / MB,
            "network_transmit_megabytes": (now.bytes_sent - before.bytes_sent) / MB,
        }

    return look


def _gpus() -> list[Look]:
    """Of each GPU of the machine; none without a driver or the package nvidia-ml-py."""
    try:
        import pynvml

        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
    except Exception:  # its own kinds, of a package that may not be there
        return []
    return [look for index in range(count) for look in _gpu(pynvml, index)]


def _gpu(nvml: Any, index: int) -> list[Look]:  # noqa: ANN401 - the package is untyped
    """Three, since a part of a GPU has its memory, but neither a utilisation nor a power."""
    gpu, name = nvml.nvmlDeviceGetHandleByIndex(index), f"gpu_{index}"

    def memory() -> dict[str, float]:
        found = nvml.nvmlDeviceGetMemoryInfo(gpu)
        return {
            f"{name}_memory_usage_percentage": found.used / found.total * 100,
            f"{name}_memory_usage_megabytes": found.used / MB,
        }

    def utilization() -> dict[str, float]:
        return {f"{name}_utilization_percentage": nvml.nvmlDeviceGetUtilizationRates(gpu).gpu}

    def power() -> dict[str, float]:
        used, limit = nvml.nvmlDeviceGetPowerUsage(gpu), nvml.nvmlDeviceGetEnforcedPowerLimit(gpu)
        return {
            f"{name}_power_usage_watts": used / 1000,
            f"{name}_power_usage_percentage": used / limit * 100,
        }

    return [memory, utilization, power]

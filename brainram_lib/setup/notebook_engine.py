"""A papermill engine that also draws the notebook's own progress bars in the terminal.

Inside a kernel tqdm draws its bars as widgets, which papermill does not show: a cell that trains for minutes would look
as if it hung.
"""

from __future__ import annotations

import html
import importlib.util
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from tqdm import tqdm

ENGINE = "brainram"
_REFERENCE = "IPY_MODEL_"


class TerminalBars:
    """Terminal twins of tqdm's notebook bars. A notebook bar is a box of three widgets: left text, bar, right text."""

    def __init__(self) -> None:
        self._box_of: dict[str, str] = {}
        self._bars: dict[str, tqdm] = {}

    def update(self, comm: str, states: Mapping[str, Mapping[str, Any]]) -> None:
        """Redraw the bar to which the widget `comm` belongs, now that its state has changed."""
        children = [child.removeprefix(_REFERENCE) for child in states[comm].get("children", [])]
        if len(children) == 3 and "max" in states.get(children[1], {}):
            self._box_of |= dict.fromkeys(children, comm)
        box = self._box_of.get(comm)
        if box is not None and comm != box:
            left, middle, right = (states[c.removeprefix(_REFERENCE)] for c in states[box]["children"])
            self._draw(box, left, middle, right)

    def _draw(self, box: str, left: Mapping[str, Any], middle: Mapping[str, Any], right: Mapping[str, Any]) -> None:
        if right.get("value") and box not in self._bars:
            self._bars[box] = tqdm(total=middle["max"], leave=True, miniters=0)
        if box not in self._bars:
            return
        bar = self._bars[box]
        bar.bar_format = f"{_plain(left)}|{{bar}}|{_plain(right)}"
        bar.n = middle["value"]
        bar.refresh()
        if middle.get("bar_style") in ("success", "danger"):
            self._forget(box, leave=True)

    def _forget(self, box: str, leave: bool) -> None:
        self._box_of = {child: owner for child, owner in self._box_of.items() if owner != box}
        if bar := self._bars.pop(box, None):
            bar.leave = leave
            bar.close()

    def remove(self, comm: str) -> None:
        """Wipe the bar whose box is `comm`: the notebook closed it."""
        self._forget(comm, leave=False)

    def close(self) -> None:
        """Leave every bar as it is."""
        for box in list(self._bars):
            self._forget(box, leave=True)


def _plain(state: Mapping[str, Any]) -> str:
    text = html.unescape(state.get("value", "")).replace("\u2007", " ")
    return text.replace("{", "{{").replace("}", "}}")


class MissingKernelError(RuntimeError):
    """This Python cannot run a notebook."""


def require_kernel() -> None:
    """Check that this Python has ipykernel, the program that runs a notebook's cells.

    Raises:
        MissingKernelError: it does not.
    """
    if importlib.util.find_spec("ipykernel") is None:
        raise MissingKernelError(
            f"There is no Jupyter kernel in this Python, '{sys.executable}': ipykernel is not installed. Run "
            f"`{sys.executable} -m pip install ipykernel`, or start the Python that has this library's packages."
        )


class ThisPython(AsyncKernelManager):
    """Starts kernels in the Python that runs this.

    Jupyter's kernel 'python3' is looked up by name, and may be another installation's, which lacks the library, or one
    that was removed since.
    """

    @property
    def kernel_spec(self) -> KernelSpec:
        """The command of this Python's kernel."""
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="Python 3", language="python")


class Client(PapermillNotebookClient):
    """papermill's client, with `TerminalBars` and `ThisPython`."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, kernel_manager_class=ThisPython, **settings)
        self._terminal = TerminalBars()

    def handle_comm_msg(self, outs: list, msg: dict[str, Any], cell_index: int) -> None:
        """Let the notebook client update the widgets' states, then redraw."""
        super().handle_comm_msg(outs, msg, cell_index)
        comm = msg["content"].get("comm_id")
        if msg["msg_type"] == "comm_close":
            self._terminal.remove(comm)
        elif comm in self.widget_state and "state" in msg["content"].get("data", {}):
            self._terminal.update(comm, self.widget_state)

    def execute(self, **settings: Any) -> Any:
        """Execute all cells; see papermill.

        Raises:
            KeyboardInterrupt: Ctrl-C, which the notebook client reports as a kernel that it shut down itself.
        """
        try:
            # The kernel's own output would break the bars; what cells print is in the executed copy.
            return super().execute(stderr=subprocess.DEVNULL, **settings)
        except DeadKernelError as problem:
            if getattr(self, "_async_cleanup_kernel_future", None) is not None:
                raise KeyboardInterrupt from problem
            raise
        finally:
            self._terminal.close()


class Engine(NBClientEngine):
    """papermill's own engine with `Client`."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: Any, kernel_name: str, log_output: bool = False, start_timeout: int = 60, **_: Any
    ) -> Any:
        """Execute the notebook that `nb_man` manages; see papermill."""
        return Client(nb_man, kernel_name=kernel_name, startup_timeout=start_timeout, log_output=log_output).execute()


papermill_engines.register(ENGINE, Engine)

"""Inputs and outputs of a session, bound to memory that a run reads and writes: by address, or as whole values."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from genai.cache import Buffer, Device
from genai.errors import GenerationError
from genai.runtime.devices import HostDevice, onnx_type
from genai.runtime.ort import RUN_ERRORS, onnxruntime
from genai.runtime.recorded_runs import DEVICE_GATE, Recorder
from genai.runtime.value_device import ValueDevice

__all__ = ["AddressBinding", "Binding", "ValueBinding", "run"]


class Binding(Protocol):
    """What is bound, and runs."""

    def input(self, name: str, buffer: Buffer, device: Device) -> None:
        """Read an input from a buffer on a device, at every run."""
        ...

    def output(self, name: str, buffer: Buffer, device: Device) -> None:
        """Write an output to a buffer on a device, at every run."""
        ...

    def host_input(self, name: str, array: npt.NDArray[Any]) -> None:
        """Read an input that lives on the host whatever the device, such as a shape operand."""
        ...

    def run(self) -> None:
        """Run the session; outputs are complete when it returns, or when the device is next asked for what it holds."""
        ...

    def stop(self) -> None:
        """End a run early, which then fails, where it is one that nobody repeats; any thread may ask."""
        ...

    def release(self) -> None:
        """Let the device forget what it has recorded, where it can; nothing is run after that."""
        ...


class AddressBinding:
    """Inputs and outputs bound to addresses.

    Args:
        session: The session.
        recorder: What runs it, if the session records.
        is_repeated: Whether it will be run again and again.
    """

    def __init__(self, session: Any, recorder: Recorder | None, *, is_repeated: bool) -> None:
        self._binding = session.io_binding()
        self._session = session
        self._recorder = recorder
        self._is_stopped = False
        if recorder is not None:
            self._number = recorder.next_number(is_repeated=is_repeated)
            self._options = recorder.options(self._number)
        else:
            self._options = onnxruntime.RunOptions()

    def input(self, name: str, buffer: Buffer, device: Device) -> None:
        """Read an input from a buffer on a device, at every run."""
        self._bind(self._binding.bind_input, name, buffer, device)

    def output(self, name: str, buffer: Buffer, device: Device) -> None:
        """Write an output to a buffer on a device, at every run."""
        self._bind(self._binding.bind_output, name, buffer, device)

    def host_input(self, name: str, array: npt.NDArray[Any]) -> None:
        """Read an input that lives on the host whatever the device, such as a shape operand."""
        self._binding.bind_input(name, "cpu", 0, onnx_type(array.dtype), array.shape, array.ctypes.data)

    def run(self) -> None:
        """Run the session; outputs are complete when it returns, or when the device is next asked for what it holds."""
        try:
            if self._recorder is None:
                self._session.run_with_iobinding(self._binding, self._options)
            else:
                self._recorder.run(self._binding, self._number, self._options)
        except RUN_ERRORS:
            if self._is_stopped:  # what was launched before that still reads what is bound
                with DEVICE_GATE:
                    self._binding.synchronize_outputs()
            raise

    def stop(self) -> None:
        """End a run early, which then fails; nothing runs this binding again."""
        self._is_stopped = self._options.terminate = True

    def release(self) -> None:
        """Do nothing: what was recorded is the session's until it ends."""

    def _bind(self, bind: Any, name: str, buffer: Buffer, device: Device) -> None:
        bind(name, device.name, device.index, onnx_type(buffer.dtype), buffer.shape, buffer.address)


class ValueBinding:
    """Inputs and outputs bound to whole values of a device, so that their runs are recorded (WebGPU).

    A recorded run reads and writes the same values each time: what lies in the host's memory gets a value beside it, and is
    copied there before a run, or from there after it.

    Args:
        session: ONNX Runtime's session.
        recorder: What runs it.
        device: Where the values are.
    """

    def __init__(self, session: Any, recorder: Recorder, device: ValueDevice) -> None:
        self._binding = session.io_binding()
        self._recorder = recorder
        self._device = device
        self._number = recorder.next_number(is_repeated=True)
        self._options = recorder.options(self._number)
        self._inputs: list[tuple[npt.NDArray[Any], Buffer]] = []
        self._outputs: list[tuple[Buffer, npt.NDArray[Any]]] = []

    def input(self, name: str, buffer: Buffer, device: Device) -> None:
        """Read an input from a buffer, at every run."""
        if device is self._device:
            self._binding.bind_ortvalue_input(name, buffer.owner)
        else:
            self.host_input(name, _host_view(buffer, device))

    def output(self, name: str, buffer: Buffer, device: Device) -> None:
        """Write an output to a buffer, at every run."""
        if device is not self._device:
            value = self._device.allocate(buffer.shape, buffer.dtype)
            self._outputs.append((value, _host_view(buffer, device)))
            buffer = value
        self._binding.bind_ortvalue_output(name, buffer.owner)

    def host_input(self, name: str, array: npt.NDArray[Any]) -> None:
        """Read an input from an array, at every run."""
        value = self._device.allocate(array.shape, array.dtype)
        self._inputs.append((array, value))
        self._binding.bind_ortvalue_input(name, value.owner)

    def run(self) -> None:
        """Run the session; outputs are complete when it returns."""
        for array, value in self._inputs:
            self._device.copy_in(array, value)
        self._recorder.run(self._binding, self._number, self._options)
        for value, array in self._outputs:
            self._device.copy_out(value, array)

    def stop(self) -> None:
        """Do nothing: what is recorded is repeated, and short."""

    def release(self) -> None:
        """Let the device forget the run, which would keep what is bound alive."""
        self._recorder.release(self._number)


def _host_view(buffer: Buffer, device: Device) -> npt.NDArray[Any]:
    assert isinstance(device, HostDevice)
    view: npt.NDArray[np.generic] = device.host_view(buffer)
    return view


def run(binding: Binding) -> None:
    """Run a binding.

    Raises:
        GenerationError: ONNX Runtime failed.
    """
    try:
        binding.run()
    except RUN_ERRORS as error:
        hint = ""
        if "requires f16" in str(error):  # WebGPU's shaders, of which nothing is known before they are made
            hint = (
                ". The device does not compute in float16: export with --provider webgpu --activations fp32"
            )
        raise GenerationError(f"ONNX Runtime failed to run the model: {error}{hint}") from error

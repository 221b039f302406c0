"""The providers that genai knows, in the order in which `auto` tries them.

Facts are of ONNX Runtime 1.31 and 1.32 and of the plug-ins' own pages. `auto` takes what has been taken from
the beginning; the rest is taken by name.
"""

from __future__ import annotations

from genai.config import provider_name
from genai.runtime.providers.opening import CUDA_BUILD
from genai.runtime.providers.provider import Provider, Tested

__all__ = ["PROVIDERS", "provider_of_library"]

UNTESTED: Tested = "written from the documentation, untested"
NVIDIA = "an NVIDIA GPU, its driver, or CUDA's and cuDNN's libraries are missing"

PROVIDERS = (
    Provider(
        "cuda",
        "CUDAExecutionProvider",
        "addresses",
        "tested over stand-ins",
        device_name="cuda",
        build=CUDA_BUILD,
        # By default the arena takes powers of two, twice what a cache needs.
        options={"arena_extend_strategy": "kSameAsRequested"},
        # The fast product of floats and whole numbers, which tries its variants when a session is made. It takes
        # matrices in the CUDA form; any other is multiplied as without it.
        session_entries={"ep.cuda.fpa_intb_gemm": "1"},
        auto=True,
        capture_option="enable_cuda_graph",
        needs=NVIDIA,
    ),
    # Of TensorRT's own memory nothing is known to be safe to share: it is fed. What it does not take, CUDA does.
    Provider(
        "tensorrt",
        "TensorrtExecutionProvider",
        "fed",
        UNTESTED,
        build=CUDA_BUILD,
        companions=("CUDAExecutionProvider",),
        needs=f"{NVIDIA}, or TensorRT 10's are (pip install tensorrt)",
    ),
    Provider(
        "nv_tensorrt_rtx",
        "NvTensorRTRTXExecutionProvider",
        "fed",
        UNTESTED,
        plugin="onnxruntime-ep-nv-tensorrt-rtx",
        needs="an NVIDIA RTX GPU (Ampere or later) or its driver is missing",
    ),
    Provider(
        "rocm",
        "ROCMExecutionProvider",
        "addresses",
        UNTESTED,
        device_name="cuda",  # as ONNX Runtime's IOBinding calls AMD's memory, too
        build="onnxruntime-rocm",
        auto=True,
        needs="an AMD GPU, its driver or ROCm's libraries are missing",
    ),
    Provider(
        "migraphx",
        "MIGraphXExecutionProvider",
        "fed",
        UNTESTED,
        build="onnxruntime-migraphx",
        needs="an AMD GPU, its driver, ROCm's or MIGraphX's libraries are missing",
    ),
    # DirectML's memory has no addresses that views could be counted from.
    Provider(
        "directml",
        "DmlExecutionProvider",
        "fed",
        UNTESTED,
        build="onnxruntime-directml",
        auto=True,
        continues_prompts=False,
        needs="a GPU with DirectX 12 is missing",
        system="Windows",
    ),
    # Not for `auto`: rows of a batch run one after another, and no GPU has shown yet how that compares with the CPU.
    Provider(
        "webgpu",
        "WebGpuExecutionProvider",
        "values",
        "tested here",
        device_name="webgpu",
        plugin="onnxruntime-ep-webgpu",
        capture_option="enableGraphCapture",
        needs_gpu=True,
        needs="a GPU, its driver or, on Linux, Vulkan's loader (libvulkan.so.1) is missing",
    ),
    Provider(
        "openvino",
        "OpenVINOExecutionProvider",
        "host",
        UNTESTED,
        build="onnxruntime-openvino",
        plugin="onnxruntime-ep-openvino",
        takes_device_id=False,
        needs="it offers devices of Intel only",
    ),
    Provider(
        "qnn",
        "QNNExecutionProvider",
        "fed",
        UNTESTED,
        plugin="onnxruntime-qnn",
        needs="it offers accelerators of Qualcomm only",
    ),
    Provider(
        "coreml",
        "CoreMLExecutionProvider",
        "host",
        UNTESTED,
        build="onnxruntime",
        takes_device_id=False,
        system="Darwin",
    ),
    Provider(
        "cpu",
        "CPUExecutionProvider",
        "host",
        "tested here",
        build="onnxruntime",
        takes_device_id=False,
        auto=True,
    ),
)


def provider_of_library(ort_name: str) -> Provider:
    """Return the known provider of this name of ONNX Runtime's, or a description that is right for any.

    >>> provider_of_library("WebGpuExecutionProvider").name, provider_of_library("ContosoAiExecutionProvider").name
    ('webgpu', 'contosoai')
    """
    for provider in PROVIDERS:
        if provider.ort_name == ort_name:
            return provider
    return Provider(provider_name(ort_name), ort_name, "fed", UNTESTED)

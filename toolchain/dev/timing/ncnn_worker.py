"""Runs a network on ncnn as ncnn's own benchmark does, with marks for an emulator's plugin.

It runs in Debian's Python for aarch64, so it imports nothing of this project:
``python ncnn_worker.py SETTINGS NETWORK.param``, with settings in JSON. What is set is what
``benchmark/benchncnn.cpp`` sets; it binds threads to all cores (``powersave`` 0), which is ncnn's
default and not repeated here, for QEMU would bind them to cores of this machine.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys

# runtime_patch/runner/marks.h; the number of the system call is aarch64's
_CLOCK_GETRES, _MARK_CLOCK, _RUN_BEGIN, _RUN_END, _READY = 114, 0x74696C65, 1, 2, 6

_SWITCHED_ON = (
    "use_winograd_convolution", "use_sgemm_convolution", "use_int8_inference", "use_fp16_packed",
    "use_fp16_storage", "use_fp16_arithmetic", "use_int8_storage", "use_int8_arithmetic",
    "use_packing_layout",
)  # fmt: skip


def main() -> None:
    """Load the network, run it until its buffers have their places, then run it marked."""
    import ncnn

    settings, param = json.loads(sys.argv[1]), sys.argv[2]
    libc = ctypes.CDLL(None)
    blobs, work = ncnn.UnlockedPoolAllocator(), ncnn.PoolAllocator()
    blobs.set_size_compare_ratio(0.0)
    work.set_size_compare_ratio(settings["workspace_ratio"])
    ncnn.set_omp_dynamic(0)
    ncnn.set_omp_num_threads(settings["threads"])
    net = ncnn.Net()
    net.opt.lightmode = True
    net.opt.num_threads = settings["threads"]
    net.opt.blob_allocator = blobs
    net.opt.workspace_allocator = work
    net.opt.use_vulkan_compute = False
    for name in _SWITCHED_ON:
        setattr(net.opt, name, True)
    if net.load_param(param):
        sys.exit(f"ncnn cannot read {param}")
    net.load_model(ncnn.DataReaderFromEmpty())  # zeros
    image = ncnn.Mat(settings["width"], settings["height"], 3)
    image.fill(0.01)

    def run() -> list[int]:
        extractor = net.create_extractor()
        for name in net.input_names():
            extractor.input(name, image)
        return [extractor.extract(name)[0] for name in net.output_names()]

    # A plugin simulates caches from the first mark on.
    if settings["warm_caches"]:
        libc.syscall(_CLOCK_GETRES, _MARK_CLOCK, _READY)
    run()  # benchncnn makes ten; buffers have their places after one
    libc.syscall(_CLOCK_GETRES, _MARK_CLOCK, _RUN_BEGIN)
    failed = run()
    libc.syscall(_CLOCK_GETRES, _MARK_CLOCK, _RUN_END)
    facts = {
        "version": ncnn.__version__,
        "failed": any(failed),
        "cores": ncnn.get_cpu_count(),
        "fp16": bool(ncnn.cpu_support_arm_asimdhp()),
        # Not in every version's Python.
        "l2": getattr(ncnn, "get_cpu_level2_cache_size", lambda: None)(),
    }
    print(json.dumps(facts), flush=True)
    # The allocators are freed before the network that uses them; that crashes, after all is done.
    os._exit(0)


if __name__ == "__main__":
    main()

"""A benchmark's report as tables for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from genai.cli.output import format_bytes, format_table

if TYPE_CHECKING:
    from genai.benchmark import BenchmarkReport
    from genai.benchmark.breakdown import Breakdown
    from genai.benchmark.memory import MemoryUse
    from genai.benchmark.report import ModelReport
    from genai.benchmark.samples import Samples

__all__ = ["format_report"]

MIN_OPERATOR_SHARE = 0.01
"""What takes less is added up in one row."""


def format_report(report: BenchmarkReport) -> str:
    """Return the report as text: the machine, the models, their speeds, ratios, and operators."""
    return "\n\n".join(_parts(report))


def _parts(report: BenchmarkReport) -> Iterator[str]:
    yield _machine(report)
    yield _models(report)
    yield _memory(report)
    yield _speeds(report)
    if ratios := report.ratios():
        rows = [
            [kind, str(size), _figure(samples)]
            for kind, by_size in ratios.items()
            for size, samples in by_size.items()
        ]
        first, second = (model.model for model in report.models)
        yield f"{first} over {second}:\n" + format_table(["MEASURED", "SIZE", "RATIO"], rows)
    for model in report.models:
        if model.profile is not None:
            for what, breakdown in (("prompt", model.profile.prompt), ("step", model.profile.step)):
                if breakdown is not None:
                    yield _breakdown(model.model, what, breakdown)


def _machine(report: BenchmarkReport) -> str:
    """Return what it ran on, and a line of limits for each number of threads that models ran with."""
    names = {
        each.num_threads: "ONNX Runtime's choice of threads"
        if each.num_threads is None
        else f"{each.num_threads} threads"
        for each in report.models
    }
    lines = [f"{report.machine.cpu}, {report.machine.num_cpus} CPUs, {' and '.join(names.values())}"]
    measured = {each.num_threads: each.limits for each in report.models if each.limits is not None}
    for num_threads, limits in measured.items():
        whose = f"{names[num_threads]}: " if len(names) > 1 else ""
        lines.append(
            f"{whose}at most {limits.read_bytes_per_second / 1e9:.1f} GB/s read, "
            f"{limits.fp32_operations_per_second / 1e9:.0f} GFLOP/s in fp32, "
            f"{limits.int8_operations_per_second / 1e9:.0f} GOP/s in int8"
        )
    return "\n".join(lines)


def _models(report: BenchmarkReport) -> str:
    header = ["MODEL", "PRECISION", "PROVIDER", "SIZE", "LOAD S", "PYTHON"]
    rows = [
        [
            model.model,
            model.precision,
            model.provider,
            format_bytes(model.num_bytes),
            _figure(model.load.process_seconds),
            f"{model.host.host_seconds.median * 1e6:.0f} µs, {model.host.host_share.median:.1%} of a step",
        ]
        for model in report.models
    ]
    return format_table(header, rows)


def _memory(report: BenchmarkReport) -> str:
    """Return peaks, each with the mapped files that were resident then."""
    header = ["MODEL", "PEAK MEMORY LOADED", "ONE SEQUENCE", "BATCHES"]
    stages = ("loaded", "one_sequence", "batches")
    rows = [
        [model.model, *(_memory_use(getattr(model.memory, stage)) for stage in stages)]
        for model in report.models
    ]
    return format_table(header, rows)


def _speeds(report: BenchmarkReport) -> str:
    """Return one row per measurement, and one under the other the models that it was made of."""
    header = ["MODEL", "MEASURED", "FIRST TOKEN S", "TOKENS/S", "OF LIMIT", "J/TOKEN"]
    by_model = [list(_speed_rows(model)) for model in report.models]
    rows = [row for rows in zip(*by_model, strict=True) for row in rows]
    if not any(row[-1] for row in rows):
        header, rows = header[:-1], [row[:-1] for row in rows]
    return format_table(header, rows)


def _speed_rows(model: ModelReport) -> Iterator[list[str]]:
    for each in model.prompts:
        assert each.time_to_first_token_seconds is not None
        assert each.prompt_tokens_per_second is not None
        yield [
            model.model,
            f"prompt of {each.prompt_tokens}",
            _figure(each.time_to_first_token_seconds),
            _figure(each.prompt_tokens_per_second),
            _share(each.prompt_share),
            "",
        ]
    for each in (*model.prompts, *model.pasts):
        yield [
            model.model,
            f"decoding after {each.prompt_tokens}",
            "",
            _figure(each.decode_tokens_per_second),
            _share(each.decode_share),
            _figure(each.joules_per_token),
        ]
    one = next((each.tokens_per_second.median for each in model.batches if each.batch == 1), None)
    for batch in model.batches:
        sequences = "1 sequence" if batch.batch == 1 else f"{batch.batch} sequences"
        if one is not None and batch.batch > 1:
            sequences += f" ({batch.tokens_per_second.median / one:.1f} x one)"
        yield [
            model.model,
            sequences,
            "",
            _figure(batch.tokens_per_second),
            "",
            _figure(batch.joules_per_token),
        ]


def _breakdown(model: str, what: str, breakdown: Breakdown) -> str:
    title = f"prompt of {breakdown.num_tokens}" if what == "prompt" else "decoding step"
    outside = max(0.0, 1 - breakdown.kernel_microseconds / max(breakdown.microseconds, 1e-9))
    shown = [each for each in breakdown.operators if each.share >= MIN_OPERATOR_SHARE]
    is_mixed = len({each.provider for each in breakdown.operators}) > 1
    rows = [
        [
            f"{each.op_type} on {each.provider.removesuffix('ExecutionProvider')}"
            if is_mixed
            else each.op_type,
            f"{each.count:g}",
            f"{each.microseconds:.0f}",
            f"{each.share:.1%}",
        ]
        for each in shown
    ]
    rest = breakdown.operators[len(shown) :]
    if rest:
        rows.append(
            [
                "others",
                f"{sum(each.count for each in rest):g}",
                f"{sum(each.microseconds for each in rest):.0f}",
                f"{sum(each.share for each in rest):.1%}",
            ]
        )
    return (
        f"{model}, {title}: {breakdown.microseconds:.0f} µs while profiled, {outside:.1%} of it between operators\n"
        + format_table(["OPERATOR", "NODES", "µS", "SHARE"], rows)
    )


def _figure(samples: Samples | None) -> str:
    """Return median and spread, with three significant digits; of a single measurement no spread is known.

    >>> from genai.benchmark.samples import Samples
    >>> _figure(Samples((1.0, 2.0, 3.0))), _figure(Samples((1234.0,))), _figure(None)
    ('2.00 ± 0.50', '1234', '')
    """
    if samples is None:
        return ""
    digits = next(
        (digits for least, digits in ((100, 0), (10, 1), (1, 2), (0.1, 3)) if samples.median >= least), 4
    )
    figure = f"{samples.median:.{digits}f}"
    return figure if len(samples.values) == 1 else f"{figure} ± {samples.spread:.{digits}f}"


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def _memory_use(use: MemoryUse) -> str:
    if use.peak_bytes is None:
        return "unknown"
    files = "" if use.mapped_file_bytes is None else f" ({format_bytes(use.mapped_file_bytes)} files)"
    return format_bytes(use.peak_bytes) + files

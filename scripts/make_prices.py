"""Make keyguard_jupyter/core/prices.json from the price data that litellm publishes.

::

    pip download --no-deps litellm
    python scripts/make_prices.py litellm-1.109.1-*.whl --date 2026-11-12

The argument is litellm's wheel, or the file ``model_prices_and_context_window.json`` of its repository; litellm itself
is never imported. The date is the day on which that file was released. The data is under the MIT licence, whose notice
stands in keyguard_jupyter/core/prices.LICENSE. What litellm lacks, or has incompletely, stands in prices_extra.json
beside this script, each row with its source.

Rules:

- Exact ids only. ``azure/`` and ``gemini/`` are cut off; Azure's data zones stay part of the id (``eu/gpt-4o``).
- Nano-dollars per 1M tokens, whole; anything finer is rounded up.
- A text model needs a rate for input and one for output (embeddings: for input). A zero is no price. Rows that lack
  one are dropped, and so are text models that also write video, for usage reports do not tell the two apart.
- A field with ``cost`` in its name that this script does not know is an error: someone has to decide what it means.
- What a service tier leaves out is filled in on the dear side; see `fill_tier` and `fill_long`.
"""

import argparse
import json
import re
import zipfile
from collections import Counter
from decimal import ROUND_CEILING, Decimal
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "keyguard_jupyter" / "core" / "prices.json"
LICENCE = OUTPUT.with_name("prices.LICENSE")
EXTRA = Path(__file__).with_name("prices_extra.json")
DATA = re.compile(r"litellm/model_prices_and_context_window\w*\.json")

KINDS = {
    "openai": "openai",
    "text-completion-openai": "openai",
    "azure": "azure",
    "azure_text": "azure",
    "anthropic": "anthropic",
    "gemini": "gemini",
}
TEXT_MODES = ("chat", "responses", "completion", "embedding")
TIERS = {"default": "", "flex": "_flex", "priority": "_priority", "ultrafast": "_ultrafast", "batch": "_batches"}
RATES = {
    "input": ["input_cost_per_token"],
    "cached": ["cache_read_input_token_cost"],
    "cache_write": ["cache_creation_input_token_cost"],
    "cache_write_12h": ["cache_creation_input_token_cost_above_12hr", "cache_creation_input_token_cost_above_1hr"],
    "audio_input": ["input_cost_per_audio_token"],
    "cached_audio": ["cache_read_input_audio_token_cost"],
    "image_input": ["input_cost_per_image_token"],
    "output": ["output_cost_per_token", "output_cost_per_reasoning_token"],
    "audio_output": ["output_cost_per_audio_token"],
    "image_output": ["output_cost_per_image_token"],
}
UNITS = {
    "input_cost_per_character": "input_character",
    "input_cost_per_second": "input_second",
    "output_cost_per_second": "output_second",
    "output_cost_per_second_1080p": "output_second_1080p",
    "output_cost_per_second_4k": "output_second_4k",
    "output_cost_per_video_per_second": "output_second",
    "input_cost_per_image": "input_image",
    "output_cost_per_image": "output_image",
    "code_interpreter_cost_per_session": "container_session",
    "google_maps_grounding_cost_per_query": "maps_query",
}
# Not kept: rates of endpoints and inputs that are refused (/decisions, video, cached images apart from text).
IGNORED = re.compile(
    r".*_decisions|.*video.*|cache_creation_input_audio_token_cost|cache_read_input_image_token_cost"
    r"|(in|out)put_cost_per_(character|image|pixel|audio_per_second)(_above_\d+k_tokens)?|search_context_cost_per_query"
)
SIZED = re.compile(r"(?:(?P<quality>\w+)/)?(?P<width>\d+)-x-(?P<height>\d+)/(?P<model>.+)")
LONG = re.compile(r"_above_(\d+)k_tokens")
NOT_OPENAI_ON_AZURE = ("speech/", "command-", "mistral-")

FIELDS = ("mode", "free", "max_input", "max_output", "step", "tiers", "units", "uplift", "retires")

Row = dict[str, object]
Named = dict[str, int]


def main(arguments: list[str] | None = None) -> None:
    """Write the table and say what was kept and what was dropped."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", type=Path, help="litellm's wheel, or its JSON file of prices")
    parser.add_argument("--date", required=True, help="the day the source was released, as 2026-11-12")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--extra", type=Path, default=EXTRA)
    options = parser.parse_args(arguments)
    source, text = read_source(options.source)
    dropped: Counter[str] = Counter()
    table = make(json.loads(text, parse_float=Decimal), dropped)
    merge_extra(table, json.loads(options.extra.read_text("utf-8"), parse_float=Decimal))
    about = {
        "source": source,
        "licence": "MIT, see prices.LICENSE",
        "date": options.date,
        "unit": "nano-dollars per 1,000,000 tokens; units: nano-dollars each",
    }
    options.output.write_text(render(about, table), "utf-8")
    report(table, dropped)


def read_source(path: Path) -> tuple[str, str]:
    """Return the name of the source and its JSON, having checked that the licence is still the one we carry."""
    if path.suffix != ".whl":
        return f"litellm, {path.name}", path.read_text("utf-8")
    with zipfile.ZipFile(path) as wheel:
        (data,) = [name for name in wheel.namelist() if DATA.fullmatch(name)]
        (licence,) = [name for name in wheel.namelist() if name.endswith("dist-info/licenses/LICENSE")]
        notice = wheel.read(licence).decode().partition("MIT License")[2].strip()
        if notice not in LICENCE.read_text("utf-8"):
            raise SystemExit(f"the licence of {path.name} is not the one in {LICENCE.name}: read it first")
        version = path.name.split("-")[1]
        return f"litellm {version}, {Path(data).name}", wheel.read(data).decode()


def make(source: dict[str, Row], dropped: Counter[str]) -> dict[str, dict[str, Row]]:
    """Return kind → model id → row."""
    table: dict[str, dict[str, Row]] = {kind: {} for kind in sorted(set(KINDS.values()))}
    images: list[tuple[str, re.Match[str], Row]] = []
    for name, fields in source.items():
        kind = KINDS.get(str(fields.get("litellm_provider")))
        if kind is None or name == "sample_spec":
            continue
        check_fields(name, fields)
        model = name.removeprefix(f"{kind}/")
        if sized := SIZED.fullmatch(model):
            images.append((kind, sized, fields))
        elif kind == "azure" and model.startswith(NOT_OPENAI_ON_AZURE):
            dropped[f"{kind}: not an OpenAI model"] += 1
        elif (row := make_row(model, fields)) is None:
            dropped[f"{kind}: no price per token or unit: {model}"] += 1
        else:
            keep(table[kind], model, row)
    for kind, sized, fields in images:
        add_image_size(table[kind], sized, fields)
    return table


def check_fields(name: str, fields: Row) -> None:
    """Stop at a price field that nobody has looked at yet."""
    stems = {stem for stems in RATES.values() for stem in stems}
    for field in fields:
        stem = LONG.sub("", field)
        for suffix in TIERS.values():
            stem = stem.removesuffix(suffix) if suffix else stem
        if "cost" in field and stem not in stems and field not in UNITS and not IGNORED.fullmatch(field):
            raise SystemExit(f"{name}: {field} is new: decide what it means")


def make_row(model: str, fields: Row) -> Row | None:
    """Return the row of one model, or None when it names no usable price."""
    mode = "container" if model == "container" else str(fields["mode"])
    step = read_step(fields)
    tiers = make_tiers(fields, mode, step)
    units = make_units(fields)
    if not tiers and (mode in TEXT_MODES or not units):
        return None
    row: Row = {"mode": mode}
    for name, field in (("max_input", "max_input_tokens"), ("max_output", "max_output_tokens")):
        value = fields.get(field)
        if isinstance(value, int) and value > 0 and tiers:
            row[name] = value
    if tiers:
        row |= {"step": step} if step else {}
        row["tiers"] = tiers
    row |= {"units": units} if units else {}
    row |= {"uplift": uplift} if (uplift := make_uplift(fields)) else {}
    row |= {"retires": fields["deprecation_date"]} if fields.get("deprecation_date") else {}
    return row


def read_step(fields: Row) -> int | None:
    """Return the number of input tokens above which the long-context rates hold."""
    steps = {int(found[1]) * 1000 for name in fields if (found := LONG.search(name)) and nano(fields[name], 15)}
    if len(steps) > 1:
        raise SystemExit(f"several long-context steps in one row: {fields}")
    return steps.pop() if steps else None


def make_tiers(fields: Row, mode: str, step: int | None) -> dict[str, Row]:
    """Return the rates of every service tier that the row prices; empty when the row is not complete."""
    default = read_rates(fields, "", None)
    if "output" not in default and mode not in TEXT_MODES:
        written = [default[name] for name in ("image_output", "audio_output") if name in default]
        default |= {"output": max(written)} if written else {}
    if "input" not in default or ("output" not in default and mode != "embedding"):
        return {}
    if mode in TEXT_MODES and any("output" in name and "video" in name for name in fields):
        return {}
    default_long = fill_long(read_rates(fields, "", step), default, default, {}) if step else {}
    tiers: dict[str, Row] = {}
    for tier, suffix in TIERS.items():
        base = read_rates(fields, suffix, None)
        if "input" in base:
            base = fill_tier(base, default)
            long = fill_long(read_rates(fields, suffix, step), base, default, default_long) if step else {}
            tiers[tier] = {**base, **({"long": long} if long else {})}
    entry = fields.get("provider_specific_entry")
    if isinstance(entry, dict) and "fast" in entry:
        tiers["fast"] = times(tiers["default"], Decimal(entry["fast"]))
    return tiers


def read_rates(fields: Row, suffix: str, step: int | None) -> Named:
    """Return the rates that litellm names for a tier, without zeros."""
    above = f"_above_{step // 1000}k_tokens" if step else ""
    rates = {
        rate: max(nano(fields.get(f"{stem}{above}{suffix}"), 15) for stem in stems) for rate, stems in RATES.items()
    }
    if rates["cache_write"] < rates["input"]:  # no provider sells a write below the rate of reading: a slip in the data
        rates["cache_write"] = 0
    if rates["cache_write"] and not rates["cache_write_12h"]:
        rates["cache_write_12h"] = 2 * rates["cache_write"]  # as OpenAI's; Anthropic's one-hour write is 1.6 times
    return {rate: cost for rate, cost in rates.items() if cost}


def fill_tier(base: Named, default: Named) -> Named:
    """Add what a tier leaves out: the default's rate, raised as the tier's input rate is.

    Cached tokens are left out: without a rate they cost what input costs. (Batches of older models have no discount.)
    """
    missing = default.keys() - base.keys() - {"cached", "cached_audio"}
    raised = max(Decimal(1), Decimal(base["input"]) / default["input"])
    return in_order({**base, **{rate: ceil(default[rate] * raised) for rate in missing}})


def fill_long(long: Named, base: Named, default: Named, default_long: Named) -> Named:
    """Add the long-context rates that a tier leaves out: its own, raised as the default's are."""
    filled = dict(long)
    for rate, cost in base.items():
        if rate not in filled:
            step_up = Decimal(default_long.get(rate, 0)) / default[rate] if rate in default else Decimal(0)
            filled[rate] = ceil(cost * max(Decimal(1), step_up))
    return in_order(filled)


def in_order(rates: Named) -> Named:
    """Return the rates in the order of the fields, so that the file does not change by itself."""
    return {rate: rates[rate] for rate in RATES if rate in rates}


def times(tier: Row, factor: Decimal) -> Row:
    """Return a tier whose every rate is multiplied."""
    return {
        name: times(value, factor) if isinstance(value, dict) else ceil(Decimal(str(value)) * factor)
        for name, value in tier.items()
    }


def make_units(fields: Row) -> Named:
    """Return what the row sells beside tokens, nano-dollars each."""
    units = {unit: nano(fields.get(field), 9) for field, unit in UNITS.items() if field in fields}
    searches = fields.get("search_context_cost_per_query")
    for size, cost in searches.items() if isinstance(searches, dict) else ():
        units[size.replace("search_context_size", "search")] = nano(cost, 9)
    return {unit: cost for unit, cost in sorted(units.items()) if cost}


def make_uplift(fields: Row) -> Named:
    """Return what regional endpoints cost, per mille of the rates."""
    entry = fields.get("provider_specific_entry")
    uplift = {"us": entry["us"]} if isinstance(entry, dict) and "us" in entry else {}
    for region in ("eu", "us"):
        if f"regional_processing_uplift_multiplier_{region}" in fields:
            uplift[region] = fields[f"regional_processing_uplift_multiplier_{region}"]
    return {region: nano(factor, 3) for region, factor in sorted(uplift.items())}


def keep(rows: dict[str, Row], model: str, row: Row) -> None:
    """Add a row; one that litellm lists under two names must say the same under both, or the dearer is kept."""
    known = rows.get(model)
    if known is not None and known.get("tiers") != row.get("tiers"):
        row = max(known, row, key=default_rates)
        print(f"  {model}: listed twice with different rates, the dearer kept")
    rows[model] = row


def default_rates(row: Row) -> list[int]:
    """Return input and output rates, to compare rows by."""
    tiers = row.get("tiers")
    default = tiers["default"] if isinstance(tiers, dict) else {}
    return [default.get("input", 0), default.get("output", 0)]


def add_image_size(rows: dict[str, Row], sized: re.Match[str], fields: Row) -> None:
    """Add the price of one picture of one size and quality to the row of its model."""
    pixels = int(sized["width"]) * int(sized["height"])
    per_image = nano(fields.get("input_cost_per_image"), 9) or nano(fields.get("output_cost_per_image"), 9)
    per_pixel = Decimal(str(fields.get("input_cost_per_pixel") or fields.get("output_cost_per_pixel") or 0))
    cost = per_image or nano(per_pixel * pixels, 9)
    if not cost:
        return
    row = rows.setdefault(sized["model"], {"mode": str(fields["mode"])})
    units = row.get("units")
    quality = f"{sized['quality']} " if sized["quality"] else ""
    name = f"image {quality}{sized['width']}x{sized['height']}"
    row["units"] = dict(sorted({**(units if isinstance(units, dict) else {}), name: cost}.items()))


def merge_extra(table: dict[str, dict[str, Row]], extra: dict[str, dict[str, Row]]) -> None:
    """Add the rows of prices_extra.json: as written, or ``like`` another row."""
    for kind, rows in extra.items():
        for model, fields in rows.items():
            row = {name: value for name, value in fields.items() if name not in ("like", "source")}
            if "like" in fields:
                row = {**table[kind][str(fields["like"])], **row}
            if default_rates(table[kind].get(model, {})) > default_rates(row):
                raise SystemExit(f"{model}: litellm has a dearer price than prices_extra.json by now")
            table[kind][model] = row


def nano(value: object, places: int) -> int:
    """Return a price moved by so many decimal places, rounded up; 0 when there is none."""
    amount = Decimal(str(value)) if isinstance(value, int | Decimal) and not isinstance(value, bool) else Decimal(0)
    if not amount.is_finite() or amount < 0:
        raise SystemExit(f"{value} is not a price")
    return ceil(amount.scaleb(places))


def ceil(amount: Decimal) -> int:
    """Round up to a whole number."""
    return int(amount.to_integral_value(ROUND_CEILING))


def render(about: dict[str, str], table: dict[str, dict[str, Row]]) -> str:
    """Write the table with one model a line, sorted."""
    parts = [f'"about": {json.dumps(about)}']
    for kind in sorted(table):
        lines = [f"{json.dumps(model)}: {render_row(row)}" for model, row in sorted(table[kind].items())]
        parts.append(f'"{kind}": {{\n' + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def render_row(row: Row) -> str:
    """Write one row on one line, its fields in their order."""
    return json.dumps({field: row[field] for field in FIELDS if field in row}, separators=(",", ":"))


def report(table: dict[str, dict[str, Row]], dropped: Counter[str]) -> None:
    """Print how many rows were kept, by kind and mode, and what was dropped."""
    for kind, rows in table.items():
        modes = Counter(str(row["mode"]) for row in rows.values())
        print(f"{kind}: {len(rows)} rows ({', '.join(f'{mode} {n}' for mode, n in modes.most_common())})")
    print(f"dropped: {dropped.total()}")
    for reason, number in sorted(dropped.items()):
        print(f"  {reason}" + (f" ({number})" if number > 1 else ""))


if __name__ == "__main__":
    main()

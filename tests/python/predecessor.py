"""kymhost against a plain simulation of its Python predecessor, whose results come from pandas itself.

    predecessor.py replay FOLDER...                          checks the simulation by recorded cases (scenarios/, staleness_*/)
    predecessor.py fuzz KYMHOST LIBRARIES SEED COUNT WORK    runs both over random datasets and compares everything
    predecessor.py turns KYMHOST LIBRARIES SEED COUNT WORK   has both update one dataset in turn, kymhost by its own rules

The simulation is written from the rules alone, one image at a time: read_parquet, read_csv, concat, to_parquet. Where
Python raises for an image, that image fails and the others are done. Needs pandas and pyarrow. Run by
tests/tests/python/predecessor_fuzz.rs.
"""

import base64
import csv
import datetime
import gzip
import hashlib
import io
import json
import math
import random
import shutil
import subprocess
import sys
import uuid
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

warnings.simplefilter("ignore")
PROVENANCE = ["image_id", "analysis_version", "params_hash"]
EVENTS = ["roi_id", "event_id", "t_start_s", "t_end_s", "peak_t_s", "peak_value", "score"]
FAILED = "STALE_UNREADABLE"


# --- the rules


def artifact(root, image, name):
    """An image's JSON artifact, or None."""
    stem = root / "images" / image / "analysis" / name
    plain, packed = Path(f"{stem}.json"), Path(f"{stem}.json.gz")
    if plain.exists():
        return json.loads(plain.read_text(encoding="utf-8"))
    if packed.exists():
        return json.loads(gzip.decompress(packed.read_bytes()).decode("utf-8"))
    return None


def table_artifact(root, image, parquet, csvs):
    stem = root / "images" / image / "analysis"
    for name in parquet:
        path = stem / f"{name}.parquet"
        if path.exists():
            return pd.read_parquet(path)
    for name in csvs:
        path = stem / f"{name}.csv.gz"
        if path.exists():
            return pd.read_csv(path)
    return None


def digest(value):
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


class VelocityEvents:
    name = "velocity_events"
    version = "kymflow.velocity_events@0.1"
    marker_name = "velocity_events/summary"
    stems = ["velocity_events/params", "velocity_events_params", "velocity_events.params"]

    def params_hash(self, root, image):
        return digest(first_object(root, image, self.stems))

    def rows(self, root, image):
        names = ["velocity_events/events", "velocity_events"]
        rows = table_artifact(root, image, names, names)
        if rows is None:
            rows = pd.DataFrame(columns=EVENTS)
        rows = rows.copy()
        for name in EVENTS:
            if name not in rows.columns:
                rows[name] = None
        return rows[EVENTS + [name for name in rows.columns if name not in EVENTS + PROVENANCE]]

    def old_marker(self, payload):
        if "marker_version" in payload or "n_events" not in payload:
            return payload
        return dict(
            payload,
            marker_version="1",
            indexer_name=self.name,
            n_rows=int(payload["n_events"]),
            ran_utc_epoch_ns=payload.get("computed_utc_epoch_ns", 1),
            status=payload.get("status", "ok"),
        )


class Radon:
    name = "radon"
    version = "kymflow.radon@0.1"
    marker_name = "radon_run"
    stems = ["radon/params", "radon_params", "radon.params"]

    def params_hash(self, root, image):
        metadata = artifact(root, image, "metadata")
        rois = metadata.get("rois") if isinstance(metadata, dict) else None
        rois = [roi for roi in rois if isinstance(roi, dict)] if isinstance(rois, list) else []
        return digest({"params": first_object(root, image, self.stems), "rois": rois})

    def rows(self, root, image):
        rows = table_artifact(root, image, ["radon/results", "radon_report", "radon"], ["radon/results", "radon"])
        rows = pd.DataFrame() if rows is None else rows.copy()
        if "roi_id" not in rows.columns:
            rows["roi_id"] = None
        return rows[[name for name in rows.columns if name not in PROVENANCE]]

    def old_marker(self, payload):
        return payload


PLUGINS = {plugin.name: plugin for plugin in (VelocityEvents(), Radon())}


def first_object(root, image, stems):
    for stem in stems:
        value = artifact(root, image, stem)
        if isinstance(value, dict):
            return value
    return {}


def marker(root, image, plugin):
    payload = artifact(root, image, plugin.marker_name)
    if not isinstance(payload, dict):
        return None
    payload = plugin.old_marker(payload)
    texts = ["marker_version", "indexer_name", "params_hash", "analysis_version", "status"]
    if not all(isinstance(payload.get(name), str) for name in texts):
        return None
    if not all(isinstance(payload.get(name), int) for name in ("n_rows", "ran_utc_epoch_ns")):
        return None
    if payload["marker_version"] != "1" or not payload["indexer_name"].strip():
        return None
    return payload if payload["n_rows"] >= 0 and payload["ran_utc_epoch_ns"] > 0 else None


def judge(plugin, current, rows, found):
    """The report of one image; `rows` are its own, `found` is its marker."""
    present = len(rows) > 0
    whole = present and "params_hash" in rows.columns and "analysis_version" in rows.columns
    rows_params = whole and bool((rows["params_hash"] == current).fillna(False).all())
    rows_version = whole and bool((rows["analysis_version"] == plugin.version).fillna(False).all())
    params = rows_params or (found is not None and found["params_hash"] == current)
    version = rows_version or (found is not None and found["analysis_version"] == plugin.version)
    matches = found is not None and found["params_hash"] == current and found["analysis_version"] == plugin.version
    if present and matches and found["n_rows"] == 0:
        reason = "STALE_MARKER_TABLE_MISMATCH"
    elif rows_params and rows_version:
        reason = "FRESH_ROWS"
    elif not present and matches and found["n_rows"] == 0:
        reason = "FRESH_ZERO_ROWS"
    elif not present and found is None:
        reason = "STALE_MISSING_MARKER"
    elif not present and found["n_rows"] > 0:
        reason = "STALE_MARKER_TABLE_MISMATCH"
    elif not version:
        reason = "STALE_VERSION_CHANGED"
    elif not params:
        reason = "STALE_PARAMS_CHANGED"
    else:
        reason = "STALE_UNKNOWN"
    return {
        "reason": reason,
        "is_stale": not reason.startswith("FRESH"),
        "has_run_marker": found is not None,
        "table_rows_present": present,
        "marker_n_rows": None if found is None else found["n_rows"],
        "params_hash_matches": params,
        "analysis_version_matches": version,
    }


def image_ids(root):
    return sorted(folder.name for folder in (root / "images").iterdir() if (folder / ".zgroup").exists())


def table_path(root, plugin):
    return root / "tables" / f"kym_{plugin.name}.parquet"


def read_table(path):
    return pd.read_parquet(path) if path.exists() else None


def own_rows(table, image):
    if table is None or "image_id" not in table.columns:
        return pd.DataFrame()
    return table[(table["image_id"] == image).fillna(False).astype(bool)]


def report(root, plugin, image, table):
    try:
        return judge(plugin, plugin.params_hash(root, image), own_rows(table, image), marker(root, image, plugin))
    except (ValueError, OSError, EOFError):
        return {"reason": FAILED, "is_stale": True}


def status(root, plugin):
    table = read_table(table_path(root, plugin))
    return {image: report(root, plugin, image, table) for image in image_ids(root)}


class Mixed(ValueError):
    """A column whose values have no common type."""


def agreed(table):
    """The rules on mixed columns, where pyarrow would go by which comes first: bools become numbers, a time is none."""
    for name in table.columns[table.dtypes == object]:
        kinds = {kind_of(value) for value in table[name]} - {"missing"}
        if kinds == {"bool", "number"} or kinds == {"number"} and any(kind_of(value) == "number" and value >= 2**63 for value in table[name]):
            table = table.assign(**{name: [math.nan if kind_of(value) == "missing" else float(value) for value in table[name]]})
        elif len(kinds) > 1:
            raise Mixed(f"column {name} has {kinds}")
    return table


def kind_of(value):
    if value is None or value is pd.NA or value is pd.NaT or isinstance(value, float) and math.isnan(value):
        return "missing"
    if isinstance(value, (bool, np.bool_)):
        return "bool"
    return "number" if isinstance(value, (int, float, np.number)) else type(value).__name__


def update_image(root, plugin, image):
    path = table_path(root, plugin)
    current = plugin.params_hash(root, image)
    rows = plugin.rows(root, image)
    for name, value in zip(PROVENANCE, [image, plugin.version, current]):
        rows[name] = value
    table = read_table(path)
    if table is not None and "image_id" in table.columns:
        table = table[~(table["image_id"] == image).fillna(False).astype(bool)]
    if table is None or table.empty:
        table = rows
    elif not rows.empty:
        table = pd.concat([table, rows], ignore_index=True)
    packed = io.BytesIO()
    agreed(table).to_parquet(packed, index=False)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(packed.getvalue())
    payload = {
        "marker_version": "1",
        "indexer_name": plugin.name,
        "params_hash": current,
        "analysis_version": plugin.version,
        "n_rows": len(rows),
        "ran_utc_epoch_ns": 1,
        "status": "ok",
    }
    put(root, f"images/{image}/analysis/{plugin.marker_name}.json", json.dumps(payload, indent=2).encode())


def run(root, plugin, mode):
    """Updates the table; the figures, and the images that failed with what Python said."""
    stats = dict.fromkeys(
        ["updated", "skipped_fresh", "skipped_zero_rows", "stale_missing_marker", "stale_marker_table_mismatch"], 0
    )
    failures = {}
    images = image_ids(root)
    for image in images:
        found = report(root, plugin, image, read_table(table_path(root, plugin)))
        reason = found["reason"]
        if mode == "incremental" and not found["is_stale"]:
            stats["skipped_fresh" if reason == "FRESH_ROWS" else "skipped_zero_rows"] += 1
            continue
        try:
            if mode == "incremental" and reason == FAILED:
                raise ValueError("it cannot be judged")
            update_image(root, plugin, image)
        except Exception as error:  # whatever pandas and pyarrow raise
            failures[image] = f"{type(error).__name__}: {error}"
            continue
        stats["updated"] += 1
        name = reason.lower()
        if mode == "incremental" and name in stats:
            stats[name] += 1
    stats["total_images"] = len(images)
    return stats, failures


# --- comparing


class Faults(list):
    def check(self, what, found, expected):
        if found != expected:
            self.append(f"{what}: kymhost {found!r}, Python {expected!r}")

    def table(self, what, found, expected, precision):
        if found is None or expected is None:
            return self.check(f"{what} is there", found is not None, expected is not None)
        self.check(f"{what} columns", list(found.columns), list(expected.columns))
        self.check(f"{what} rows", len(found), len(expected))
        if list(found.columns) != list(expected.columns) or len(found) != len(expected):
            return
        for name in expected.columns:
            for row, (a, b) in enumerate(zip(found[name], expected[name])):
                a, b = cell(a), cell(b)
                if not same(a, b, precision):
                    kinds = f"({found[name].dtype}, {expected[name].dtype})"
                    self.append(f"{what} {name}[{row}] {kinds}: kymhost {a!r}, Python {b!r}")
                    break


def cell(value):
    if isinstance(value, (list, tuple, np.ndarray)):
        return [cell(item) for item in value]
    if isinstance(value, dict):
        return {key: cell(item) for key, item in value.items()}
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, np.generic):
        return cell(value.item() if not isinstance(value, (np.datetime64, np.timedelta64)) else pd.Timestamp(value))
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, (pd.Timestamp, pd.Timedelta)):
        # pandas 3 cuts them to microseconds once they have been in a column of objects.
        return value.floor("us").as_unit("ns")
    return value


def same(a, b, precision):
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y, precision) for x, y in zip(a, b))
    if type(a) is bool and type(b) is bool:
        return a == b
    # A column that had a number in it for a moment of Python's run is one of numbers there for ever.
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        a, b = (a, b) if type(a) is type(b) else (float(a), float(b))
        return a == b or (math.isfinite(b) and math.isfinite(a) and abs(a - b) <= precision * abs(b))
    return a == b and type(a) is type(b)


def without_time(payload):
    return {key: value for key, value in payload.items() if key != "ran_utc_epoch_ns"} if payload else payload


# --- files


def put(root, key, data):
    path = root / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def drop(root, key):
    path = root / key
    path.unlink()
    for folder in path.parents:
        if folder == root or any(folder.iterdir()):
            break
        folder.rmdir()


def copy(source, target):
    shutil.copytree(source, target)
    for path in [target, *target.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o200)


# --- recorded cases


def replay(folders, work):
    cases, faults = 0, Faults()
    for folder in map(Path, folders):
        for case in sorted(folder.glob("staleness_*")):
            expected = json.loads((case / "expected.json").read_text())["staleness"]
            for image, found in status(case / "dataset.zarr", PLUGINS[case.name[len("staleness_"):]]).items():
                wanted = {key: value for key, value in expected[image].items() if key != "case"}
                faults.check(f"{case.name} {image} {expected[image].get('case')}", found, wanted)
                cases += 1
        for case in sorted((folder / "scenarios").iterdir()):
            root = work / f"{folder.name}-{case.name}"
            copy(case / "initial.zarr", root)
            for number, step in enumerate(json.loads((case / "steps.json").read_text())):
                what = f"{folder.name}/{case.name} step {number}"
                if step["op"] == "edit":
                    for key, data in step["put"].items():
                        put(root, key, base64.b64decode(data))
                    for key in step["delete"]:
                        drop(root, key)
                    continue
                plugin, expect = PLUGINS[step["plugin"]], step["expect"]
                faults.check(f"{what} before", status(root, plugin), expect["staleness_before"])
                stats, failures = run(root, plugin, step["mode"])
                faults.check(f"{what} failures", failures, {})
                faults.check(f"{what} stats", stats, expect["stats"])
                wanted = pd.DataFrame(expect["table"]["rows"], columns=expect["table"]["columns"], dtype=object)
                faults.table(what, read_table(table_path(root, plugin)), wanted, 1e-12)
                for image, wanted in expect["markers"].items():
                    found = artifact(root, image, plugin.marker_name)
                    faults.check(f"{what} {image}", without_time(found), without_time(wanted))
                cases += 1
    return cases, faults


# --- random datasets

NUMBERS = ["int", "float", "holes", "uint64", "int8", "uint8", "int16", "float32", "Int64", "Int8", "Float32", "ints as objects"]
TEXTS = ["text", "text with holes", "category", "string", "arrow text", "large text", "text view"]
FLAGS = ["bool", "bool with holes", "boolean"]
TIMES = ["time", "time us", "time utc", "time s", "date", "duration"]
OTHERS = ["list", "list of text", "struct", "bytes", "number category", "decimal", "clock"]
NOTHING = ["none", "nan", "null text", "null int"]
FAMILIES = [NUMBERS, NUMBERS, TEXTS, FLAGS, NUMBERS + FLAGS]
WORDS = ["a", "b c", "", "\u00fc", "nan", "NA", "1", "true", "\U0001f600", "x" * 40, "None", "2024-01-01"]
NA_WORDS = ["", "#N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null", "<NA>", "-nan", "1.#IND"]


class Maker:
    """Random files, reproducible by the seed."""

    def __init__(self, seed, wild):
        self.random = random.Random(seed)
        self.wild = wild
        self.has_csv = False

    def chance(self, probability):
        return self.random.random() < probability

    def some(self, make, rows, holes=0.0, missing=None):
        return [missing if self.chance(holes) else make() for _ in range(rows)]

    def column(self, kind, n):
        r = self.random
        small, real = lambda: r.randint(-100, 100), lambda: r.choice([r.uniform(-9, 9), r.randint(-3, 3) / 2, 1e300, 5e-324])
        word, when = lambda: r.choice(WORDS), lambda: pd.Timestamp(r.randint(0, 2**31), unit="s")
        fine = lambda: pd.Timestamp(r.randint(0, 2**60))
        hole = r.choice([0.0, 0.4])
        if kind == "int":
            return pd.Series(self.some(lambda: r.choice([small(), r.randint(-(2**52), 2**52)]), n), dtype="int64")
        if kind == "float":
            return pd.Series(self.some(real, n), dtype="float64")
        if kind == "holes":
            return pd.Series(self.some(real, n, 0.5, math.nan), dtype="float64")
        if kind == "uint64":
            return pd.Series(self.some(lambda: r.choice([r.randint(0, 9), 2**63 + 2**40, 2**64 - 1]), n), dtype="uint64")
        if kind in ("int8", "uint8", "int16", "float32"):
            return pd.Series(self.some(lambda: r.randint(0, 100), n), dtype=kind)
        if kind in ("Int64", "Int8"):
            return pd.Series(self.some(small, n, 0.4), dtype=kind)
        if kind == "Float32":
            return pd.Series(self.some(lambda: small() / 4, n, 0.4), dtype=kind)
        if kind == "ints as objects":
            return pd.Series(self.some(small, n, hole), dtype=object)
        if kind in ("text", "text with holes"):
            return pd.Series(self.some(word, n, 0.4 * (kind != "text")), dtype=object)
        if kind == "string":
            return pd.Series(self.some(word, n, hole), dtype="string")
        if kind == "category":
            return pd.Series(self.some(word, n, hole)).astype("category")
        if kind == "number category":
            return pd.Series(self.some(small, n)).astype("category")
        if kind in ("arrow text", "large text", "text view"):
            types = {"arrow text": pa.string(), "large text": pa.large_string(), "text view": pa.string_view()}
            return pa.array(self.some(word, n, hole), types[kind])
        if kind == "bool":
            return pd.Series(self.some(lambda: self.chance(0.5), n), dtype=bool)
        if kind in ("bool with holes", "boolean"):
            values = self.some(lambda: self.chance(0.5), n, 0.4)
            return pd.Series(values, dtype=object if kind != "boolean" else kind)
        if kind in ("time", "time us", "time s"):
            unit = {"time": "ns", "time us": "us", "time s": "s"}[kind]
            return pd.Series(self.some(fine if unit == "ns" else when, n, hole, pd.NaT)).astype(f"datetime64[{unit}]")
        if kind == "time utc":
            return pd.Series(self.some(when, n, hole, pd.NaT)).astype("datetime64[ns]").dt.tz_localize("UTC")
        if kind == "duration":
            return pd.Series(self.some(lambda: pd.Timedelta(r.randint(0, 2**50)), n)).astype("timedelta64[ns]")
        if kind == "date":
            return pd.Series(self.some(lambda: when().date(), n, hole), dtype=object)
        if kind == "clock":
            return pd.Series(self.some(lambda: when().time(), n, hole), dtype=object)
        if kind == "list":
            return pd.Series(self.some(lambda: [float(small()) for _ in range(r.randint(0, 3))], n, hole), dtype=object)
        if kind == "list of text":
            return pd.Series(self.some(lambda: [word() for _ in range(r.randint(1, 3))], n, hole), dtype=object)
        if kind == "struct":
            return pd.Series(self.some(lambda: {"a": small(), "b": word()}, n, hole), dtype=object)
        if kind == "bytes":
            return pd.Series(self.some(lambda: word().encode(), n, hole), dtype=object)
        if kind == "decimal":
            import decimal

            return pd.Series(self.some(lambda: decimal.Decimal(small()) / 4 + decimal.Decimal("0.25"), n), dtype=object)
        if kind == "nan":
            return pd.Series([math.nan] * n, dtype="float64")
        if kind == "null text":
            return pa.array([None] * n, pa.string())
        if kind == "null int":
            return pa.array([None] * n, pa.int64())
        return pd.Series([None] * n, dtype=object)

    def plan(self, names):
        """What kinds each column is of: of one family mostly, of any where the dataset is wild."""
        r = self.random
        families = {}
        for name in names:
            family = r.choice([[r.choice(kinds)] for kinds in FAMILIES + [TIMES, OTHERS]] + FAMILIES)
            if self.wild and self.chance(0.4):
                family = NUMBERS + TEXTS + FLAGS + TIMES + OTHERS
            families[name] = family + r.choice([[], NOTHING])
        return families

    def frame(self, families, rows, keep=0.8):
        """Arrow data of some of the columns, as pandas (of this version) makes it."""
        r = self.random
        names = [name for name in families if self.chance(keep)]
        if self.chance(0.2):
            r.shuffle(names)
        if rows == 0 and self.chance(0.5):
            kind = r.choice(["object", "float64"])
            return pa.Table.from_pandas(pd.DataFrame(columns=names, dtype=kind), preserve_index=False)
        columns = [self.column(r.choice(families[name]), rows) for name in names]
        series = {name: column for name, column in zip(names, columns) if not isinstance(column, pa.Array)}
        if not series:
            return pa.table(dict(zip(names, columns)))
        table = pa.Table.from_pandas(pd.DataFrame(series), preserve_index=False)
        for place, (name, column) in enumerate(zip(names, columns)):
            if isinstance(column, pa.Array):
                table = table.add_column(place, name, column)
        return table

    def parquet(self, table):
        """A file, by one of many writers; pandas' own metadata is only left where it is true."""
        r = self.random
        views = any(pa.types.is_string_view(field.type) for field in table.schema)
        if views or len(json.loads((table.schema.metadata or {}).get(b"pandas", b'{"columns": []}'))["columns"]) != table.num_columns:
            table = table.replace_schema_metadata(None)
        packed = io.BytesIO()
        pq.write_table(
            table,
            packed,
            compression=r.choice(["zstd", "snappy", "gzip", "brotli", "lz4", "none"]),
            use_dictionary=self.chance(0.7),
            data_page_version=r.choice(["1.0", "2.0"]),
            row_group_size=r.choice([1, 2, 1000]),
            store_schema=views or self.chance(0.9),
        )
        return packed.getvalue()

    def csv(self, names, rows):
        r = self.random
        self.has_csv = True
        kinds = {
            "int": lambda: str(r.randint(-99, 99)),
            "float": lambda: r.choice(["1.5", ".5", "2.", "1e3", "-0.0", "1E-7", repr(r.uniform(-9, 9)), "inf", "-inf", "Infinity"]),
            "uint": lambda: r.choice(["18446744073709551615", "1", "9223372036854775808"]),
            "zeros": lambda: r.choice(["007", "01", "0", "00"]),
            "blanks": lambda: r.choice([" 1", "2 ", " 3.5", "\t4"]),
            "bool": lambda: r.choice(["True", "False", "TRUE", "false"]),
            "text": lambda: r.choice(["a", "b,c", 'say "x"', "two\nlines", " a", "a ", "'q'", "\u00fc", "+", "-", ".", "e5"]),
            "mix": lambda: r.choice(["1", "a", "True", "2.5", "1_000", "0x10", "1e", "--1", "1 2", "+5", "$3"]),
            "thousands": lambda: r.choice(["1,000", "12,345"]),
            "dates": lambda: r.choice(["2024-01-01", "2024-01-02T03:04:05", "01/02/2024"]),
            "bool or number": lambda: r.choice(["True", "1"]),
            "nothing": lambda: "",
        }
        columns, whole = [], False
        for name in names:
            kind = r.choice(list(kinds))
            # pandas reads a column of uint64 with a hole as text, the words for missing ones included: it guesses.
            make, holes = kinds[kind], 0 if kind == "uint" else r.choice([0, 0, 0.3])
            whole |= kind == "uint"
            columns.append([r.choice(NA_WORDS) if self.chance(holes) else make() for _ in range(rows)])
        text = io.StringIO()
        out = csv.writer(text, quoting=r.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), lineterminator=r.choice(["\n", "\r\n"]))
        out.writerow(names)
        for row in zip(*columns):
            out.writerow(row if whole or self.chance(0.9) else row[: r.randint(1, len(row))])
            if self.chance(0.1):
                text.write("\n")
        text = text.getvalue()
        if self.chance(0.1):
            text = "\ufeff" + text
        return gzip.compress(text.encode("utf-8"))

    def value(self, depth=0):
        r = self.random
        kinds = [
            lambda: r.randint(-5, 5), lambda: r.uniform(-1e3, 1e3), lambda: r.choice([1e16, 1e-5, 1.5e300, -0.0, 1.0, 0.1 + 0.2]),
            lambda: math.nan, lambda: -math.inf, lambda: 10 ** r.randint(15, 60), lambda: r.choice(WORDS), lambda: None,
            lambda: self.chance(0.5), lambda: "\u0001\\\"/\u2028\x7f\n",
        ]
        if depth < 3:
            kinds += [lambda: [self.value(depth + 1) for _ in range(r.randint(0, 3))], lambda: self.object(depth + 1)] * 2
        return r.choice(kinds)()

    def object(self, depth=0):
        keys = ["b", "a", "\u00e9", "\ud7ff", "\U0001f600", "\uffee", "A", "", "a b", '"', "10", "9"]
        return {self.random.choice(keys): self.value(depth) for _ in range(self.random.randint(0, 4))}

    def json(self, value):
        text = json.dumps(value, indent=self.random.choice([None, 2]), ensure_ascii=self.chance(0.5))
        return text.encode("utf-8")

    def json_artifact(self, name, value):
        """Under one of its two endings, or both, where the plain one counts."""
        data = b"{broken" if self.wild and self.chance(0.02) else self.json(value)
        end = self.random.choice(["plain", "plain", "packed", "both"])
        files = {} if end == "packed" else {f"{name}.json": data}
        if end != "plain":
            files[f"{name}.json.gz"] = gzip.compress(data if end == "packed" else self.json(self.object()))
        return files

    def marker(self, plugin, current):
        r = self.random
        made = {
            "marker_version": "1", "indexer_name": plugin.name, "params_hash": current, "analysis_version": plugin.version,
            "n_rows": r.choice([0, 0, 2, 5]), "ran_utc_epoch_ns": 7, "status": "ok",
        }
        for _ in range(r.choice([0, 0, 0, 1, 2])):
            name = r.choice(list(made))
            odd = ["1", "", " ", "other", 0, 1, -1, True, False, 1.0, None, [], {}, 10**30, 2]
            made[name] = r.choice(odd)
            if self.chance(0.3):
                del made[name]
        if self.chance(0.15):
            made = {
                "n_events": r.choice([0, 3, 2.7, True, "4", 0.5]), "params_hash": r.choice([current, "old"]),
                "analysis_version": r.choice([plugin.version, "0"]),
            }
            if self.chance(0.5):
                made["computed_utc_epoch_ns"] = r.choice([5, 5, 0, -1, True, 1.5, "5"])
            if self.chance(0.5):
                made["status"] = r.choice(["ok", "done", 3])
            if self.chance(0.3):
                made["indexer_name"] = r.choice(["radon", "", 3])
        made["more"] = self.value()
        return r.choice([made] * 12 + [[made], "marker", None, 1])

    def image(self, families):
        """All files of an image, by their names in its folder."""
        r = self.random
        files = {".zgroup": b'{"zarr_format": 2}', ".zattrs": self.json({"axes": ["y", "x"], "note": r.choice([1, math.nan])})}
        analysis = {}
        for plugin in PLUGINS.values():
            for stem in plugin.stems:
                if self.chance(0.4):
                    analysis.update(self.json_artifact(stem, self.object() if self.chance(0.8) else self.value()))
            own = families[plugin.name]
            rows = lambda: r.choice([0, 1, 2, 3, 6])
            if plugin.name == "radon":
                places = ["radon/results", "radon_report", "radon"]
            else:
                places = ["velocity_events/events", "velocity_events"]
            if self.chance(0.8):
                analysis[f"{r.choice(places)}.parquet"] = self.parquet(self.frame(own, rows()))
            if self.chance(0.25):
                names = [name for name in own if self.chance(0.7)] or ["roi_id"]
                analysis[f"{r.choice(places)}.csv.gz"] = self.csv(names, rows())
        if self.chance(0.6):
            rois = r.choice([[self.object(), self.value(), self.object()], [], {}, None, "rois", [1, [2], {"a": 1}]])
            metadata = {"version": "1", "rois": rois}
            if self.chance(0.2):
                del metadata["rois"]
            analysis.update(self.json_artifact("metadata", metadata if self.chance(0.9) else self.value()))
        files.update({f"analysis/{name}": data for name, data in analysis.items()})
        return files

    def image_id(self):
        odd = ["img-1", "10", "9", "A b", "\u00fc", "zz", "Zz", "nan", "a.b", "0e1", "_", "None"]
        if self.chance(0.25):
            return self.random.choice(odd)
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def families(self):
        found = {}
        for plugin in PLUGINS.values():
            names = EVENTS[:] if plugin.name == "velocity_events" else ["roi_id", "velocity", "n_nan"]
            names += ["extra", "more", "\u00e9t\u00e9"][: self.random.randint(0, 3)]
            found[plugin.name] = self.plan(names)
            for name in PROVENANCE:
                if self.chance(0.15):
                    found[plugin.name][name] = TEXTS[:2] + (["int"] if self.chance(0.5) else [])
        return found

    def table(self, plugin, root, families):
        """A table that another program left: stale, partly described, with rows of deleted images."""
        r = self.random
        ids = image_ids(root)
        rows = r.choice([0, 1, 4, 8])
        own = {name: kinds for name, kinds in families.items() if name not in PROVENANCE}
        table = self.frame(own, rows).replace_schema_metadata(None)
        who = [r.choice(ids + ["gone", None]) if ids else "gone" for _ in range(rows)]
        hashes = [plugin.params_hash(root, one) if one in ids and self.chance(0.8) else r.choice(["h", None]) for one in who]
        versions = [plugin.version if self.chance(0.8) else r.choice(["v", None]) for _ in who]
        for name, values in zip(PROVENANCE, [who, hashes, versions]):
            values = versions if name == "analysis_version" else hashes if name == "params_hash" else values
            if self.chance(0.9):
                kind = r.choice([pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
                table = table.append_column(name, pa.array(values, kind))
        if self.chance(0.5):
            packed = io.BytesIO()
            table.to_pandas().to_parquet(packed, index=False)
            return packed.getvalue()
        return self.parquet(table)


COMPAT = ("--compat", "kymflow")


def program(kymhost, libraries, root, plugin, command, rules=COMPAT):
    library = libraries / f"libkymhost_{plugin.name}.so"
    words = [kymhost, *command, "--json", *rules, "--plugin", library, "--dataset", root]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode not in (0, 3) or "panicked" in done.stderr:
        raise RuntimeError(f"{' '.join(map(str, words))}: exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def scenario(kymhost, libraries, seed, work):
    """One dataset in two copies, edited alike, updated by Python and by kymhost; now and then one goes on with the other's."""
    maker = Maker(seed, wild=seed % 4 == 0)
    r = maker.random
    faults = Faults()
    ours, theirs = work / f"{seed}-kymhost.zarr", work / f"{seed}-python.zarr"
    shutil.rmtree(ours, ignore_errors=True), shutil.rmtree(theirs, ignore_errors=True)
    families = maker.families()

    def both(key, data):
        for root in (ours, theirs):
            put(root, key, data)

    def add():
        image = maker.image_id()
        for name, data in maker.image(families).items():
            both(f"images/{image}/{name}", data)

    def edit():
        images = image_ids(theirs)
        plugin = r.choice(list(PLUGINS.values()))
        what = r.choice(["add", "image", "params", "marker", "marker", "delete", "remove", "table", "rows"])
        if what == "add" or not images:
            return add()
        image = r.choice(images)
        folder = f"images/{image}"
        if what == "image":
            for root in (ours, theirs):
                shutil.rmtree(root / folder)
            for name, data in maker.image(families).items():
                both(f"{folder}/{name}", data)
        elif what == "params":
            for name, data in maker.json_artifact(r.choice(plugin.stems), maker.object()).items():
                both(f"{folder}/analysis/{name}", data)
        elif what == "marker":
            try:
                current = plugin.params_hash(theirs, image)
            except ValueError:
                current = "none"
            name = f"{folder}/analysis/{plugin.marker_name}.json"
            both(name, maker.json(maker.marker(plugin, current)))
        elif what == "delete":
            for root in (ours, theirs):
                shutil.rmtree(root / folder)
        elif what == "remove":
            files = sorted(path.relative_to(theirs) for path in (theirs / folder).rglob("*") if path.is_file())
            name = r.choice(files)
            for root in (ours, theirs):
                drop(root, name)
            if name.name == ".zgroup" and not (theirs / folder).exists():
                return None
        elif what == "table":
            try:
                both(f"tables/kym_{plugin.name}.parquet", maker.table(plugin, theirs, families[plugin.name]))
            except (ValueError, pa.ArrowInvalid):
                return edit()
        elif table_path(theirs, plugin).exists():
            table = read_table(table_path(theirs, plugin))
            packed = io.BytesIO()
            table = table.drop(index=[row for row in range(len(table)) if maker.chance(0.3)])
            table.to_parquet(packed, index=r.choice([True, False]))
            both(f"tables/kym_{plugin.name}.parquet", packed.getvalue())
        return None

    for root in (ours, theirs):
        for group in ("", "images/", "index/"):
            put(root, f"{group}.zgroup", b'{"zarr_format": 2}')
        put(root, ".zattrs", b'{"format": "kymflow_zarr_v1", "schema_version": 1}')
    if maker.chance(0.3):
        both("images/no-image/.zattrs", b"{}")
    for _ in range(r.choice([0, 1, 3, 4, 6])):
        add()
    for number in range(r.randint(2, 7)):
        for _ in range(r.choice([0, 1, 2, 3])):
            edit()
        plugin, mode = r.choice(list(PLUGINS.values())), r.choice(["replace", "incremental"])
        what = f"seed {seed} run {number} ({mode} {plugin.name})"
        reports = {report.pop("image_id"): report for report in program(kymhost, libraries, ours, plugin, ["status"])["images"]}
        wanted = status(theirs, plugin)
        faults.check(f"{what} images", list(reports), list(wanted))
        for image, expected in wanted.items():
            found = {name: reports.get(image, {}).get(name) for name in expected}
            faults.check(f"{what} before {image}", found, expected)
        place = ["--in-process"] if seed % 2 else []
        document = program(kymhost, libraries, ours, plugin, ["run", "--mode", mode, *place])
        stats, failures = run(theirs, plugin, mode)
        found = {failure["image_id"]: failure["message"] for failure in document["failures"]}
        # Python minds what is in a row that a later image's turn will replace; kymhost minds what stays.
        if any(image not in found and why.startswith("Mixed") for image, why in failures.items()):
            break
        for image in sorted(found.keys() | failures.keys()):
            if (image in found) != (image in failures):
                faults.append(f"{what} {image}: kymhost says {found.get(image)!r}, Python {failures.get(image)!r}")
        faults.check(f"{what} stats", {name: document["stats"].get(name) for name in stats}, stats)
        faults.check(f"{what} failed", document["stats"]["failed"], len(failures))
        precision = 1e-12 if maker.has_csv else 0.0
        try:
            faults.table(what, read_table(table_path(ours, plugin)), read_table(table_path(theirs, plugin)), precision)
        except Exception as error:
            faults.append(f"{what}: pandas cannot read the table: {type(error).__name__}: {error}")
        for image in wanted:
            name = f"images/{image}/analysis/{plugin.marker_name}.json"
            texts = [(root / name).read_text() if (root / name).exists() else None for root in (ours, theirs)]
            if texts[0] != texts[1]:
                markers = [json.loads(text) if text else None for text in texts]
                faults.check(f"{what} marker {image}", *map(without_time, markers))
        if faults:
            break
        giver, taker = r.choice([(ours, theirs), (theirs, ours), (None, None)])
        if giver:
            for path in giver.rglob("tables/*"):
                put(taker, path.relative_to(giver), path.read_bytes())
    if not faults:
        shutil.rmtree(ours), shutil.rmtree(theirs)
    return faults


def turns(kymhost, libraries, seed, work):
    """One dataset that kymhost, by its own rules, and Python update in turn: each takes the other's work as done."""
    maker = Maker(seed, wild=False)
    r = maker.random
    faults = Faults()
    root = work / f"{seed}-turns.zarr"
    shutil.rmtree(root, ignore_errors=True)
    families = maker.families()
    for group in ("", "images/", "index/"):
        put(root, f"{group}.zgroup", b'{"zarr_format": 2}')
    put(root, ".zattrs", b'{"format": "kymflow_zarr_v1", "schema_version": 1}')

    def ours(command, plugin):
        return program(kymhost, libraries, root, plugin, command, rules=())

    def add():
        image = maker.image_id()
        for name, data in maker.image(families).items():
            put(root, f"images/{image}/{name}", data)

    def python_takes_it(what, plugin, failed):
        """Python finds nothing to do in what kymhost has just done."""
        for image, found in status(root, plugin).items():
            if image not in failed and found["is_stale"]:
                faults.append(f"{what} {image}: Python finds {found['reason']}")

    def kymhost_takes_it(what, plugin, failed, notes):
        """kymhost finds nothing to do in what Python has just done; notes: those that each image must have, if given."""
        for image in ours(["status"], plugin)["images"]:
            if image["image_id"] in failed:
                continue
            if image["is_stale"]:
                faults.append(f"{what} {image['image_id']}: kymhost finds {image['reason']} {image.get('inputs')}")
            if notes is not None:
                faults.check(f"{what} {image['image_id']} notes", image.get("notes", []), notes)

    for _ in range(r.choice([1, 3, 5])):
        add()
    for number in range(3):
        if number:
            add()
            image = r.choice(image_ids(root))
            plugin = r.choice(list(PLUGINS.values()))
            for name, data in maker.json_artifact(r.choice(plugin.stems), maker.object()).items():
                put(root, f"images/{image}/analysis/{name}", data)
        plugin = r.choice(list(PLUGINS.values()))
        what = f"seed {seed} turn {number} ({plugin.name})"
        # What cannot be read fails with both, and neither takes it.
        document = ours(["run", "--mode", "incremental"], plugin)
        failed = {failure["image_id"] for failure in document["failures"]}
        python_takes_it(f"{what} after kymhost", plugin, failed)
        if not table_path(root, plugin).exists():
            continue
        before = read_table(table_path(root, plugin))
        try:
            # pandas reads the table and writes it again: other bytes and maybe other types, the same rows.
            before.to_parquet(table_path(root, plugin), index=False)
        except Exception:  # some tables pandas can read but not write
            break
        kymhost_takes_it(f"{what} after pandas", plugin, failed, None)
        _, failures = run(root, plugin, "replace")
        kymhost_takes_it(f"{what} after Python", plugin, failed | set(failures), ["JUDGED_BY_OLD_RULES"])
        stats = ours(["run", "--mode", "incremental"], plugin)["stats"]
        faults.check(f"{what} updated after Python", stats["updated"], 0 if not failed | set(failures) else stats["updated"])
        if faults:
            break
    if not faults:
        shutil.rmtree(root)
    return faults


def fuzz(kymhost, libraries, seed, count, work, scenario=scenario):
    faults = Faults()
    for one in range(int(seed), int(seed) + int(count)):
        try:
            faults.extend(scenario(kymhost, Path(libraries), one, Path(work)))
        except RuntimeError as error:
            faults.append(f"seed {one}: {error}")
    return int(count), faults


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "replay":
        import tempfile

        with tempfile.TemporaryDirectory() as work:
            cases, faults = replay(rest, Path(work))
    else:
        cases, faults = fuzz(*rest, scenario={"fuzz": scenario, "turns": turns}[what])
    print(f"pandas {pd.__version__}: {cases} cases, {len(faults)} faults")
    print("\n".join(faults[:400]))
    sys.exit(1 if faults or not cases else 0)

"""kymhost against a plain simulation of its Python predecessor, whose results come from pandas itself.

    predecessor.py replay FOLDER...                          checks the simulation by recorded cases (scenarios/, staleness_*/)
    predecessor.py fuzz KYMHOST LIBRARIES SEED COUNT WORK    runs both over random datasets and compares everything

The simulation is written from the rules alone, one image at a time: read_parquet, read_csv, concat, to_parquet. Where
Python raises for an image, that image fails and the others are done. Needs pandas and pyarrow. Run by
tests/tests/predecessor_fuzz.rs.
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
    table.to_parquet(packed, index=False)
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
    if isinstance(value, pd.Timestamp):
        return value.as_unit("ns")
    return value


def same(a, b, precision):
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y, precision) for x, y in zip(a, b))
    if type(a) is bool or type(b) is bool:
        return type(a) is type(b) and a == b
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


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "replay":
        import tempfile

        with tempfile.TemporaryDirectory() as work:
            cases, faults = replay(rest, Path(work))
    print(f"pandas {pd.__version__}: {cases} cases, {len(faults)} faults")
    print("\n".join(faults[:40]))
    sys.exit(1 if faults or not cases else 0)

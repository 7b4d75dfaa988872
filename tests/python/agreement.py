"""Whether Python's own libraries and kymhost agree on a dataset's files.

    agreement.py read DATASET EXPECTED.json     compares a dataset that kymhost wrote with what it meant to write
    agreement.py exported FOLDER EXPECTED.json  compares files that kymhost exported with what they should hold
    agreement.py write DATASET EXPECTED.json    makes a dataset as kymflow would, and says what is in it

Needs zarr<3, numcodecs<0.16, pandas, pyarrow, numpy. Run by tests/tests/python/python_agreement.rs.
"""

import gzip
import json
import math
import os
import sys

import numcodecs
import numpy as np
import pandas as pd
import zarr

PANDAS_MAJOR = int(pd.__version__.split(".")[0])
FAULTS = []


def check(what, found, expected):
    if found != expected:
        FAULTS.append(f"{what}: found {found!r}, expected {expected!r}")


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def cell(value):
    """A table's cell as JSON: missing is null, times are nanoseconds, numbers are numbers."""
    if isinstance(value, (list, np.ndarray)):
        return [cell(item) for item in value]
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, pd.Timestamp):
        return int(value.value)
    if isinstance(value, np.generic):
        return cell(value.item())
    return value


def native(array):
    """An array's bytes in C order and native byte order."""
    array = np.asarray(array)
    return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="))).tobytes().hex()


# --- what kymhost wrote


def dtype_of(kind):
    """What pandas should call a column that kymhost describes so."""
    if kind == "text":
        return {"str"} if PANDAS_MAJOR >= 3 else {"object"}
    return {kind}


def read(root, expected):
    group = zarr.open_group(root, mode="r")
    for key, array in expected["arrays"].items():
        found = group[key]
        check(f"{key} dtype", str(found.dtype), array["dtype"])
        check(f"{key} shape", list(found.shape), array["shape"])
        check(f"{key} chunks", list(found.chunks), array["chunks"])
        check(f"{key} order", found.order, "C")
        check(f"{key} filters", found.filters, None)
        check(f"{key} compressor", found.compressor.get_config(), numcodecs.Blosc("zstd", 3, 2, 0).get_config())
        check(f"{key} fill_value", complex(found.fill_value), 0j)
        check(f"{key} bytes", native(found[...]), array["bytes"])
        check(f"{key} files", found.nchunks_initialized, found.nchunks)
        parent = group[os.path.dirname(key)]
        check(f"{key} axes", parent.attrs["axes"], array["axes"])
    for key, attributes in expected["attributes"].items():
        found = dict((group[key] if key else group).attrs)
        for name in ("created_utc", "updated_utc"):
            if name in found:
                time = found.pop(name)
                check(f"{key} {name}", (len(time), time[10], time[-1]), (20, "T", "Z"))
        check(f"{key} attributes", canonical(found), canonical(attributes))
    check("images", sorted(group["images"].group_keys()), expected["images"])
    for key, text in expected["json"].items():
        with open(os.path.join(root, key), "rb") as file:
            raw = file.read()
        if key.endswith(".gz"):
            raw = gzip.decompress(raw)
        check(f"{key} value", canonical(json.loads(raw)), text)
        check(f"{key} text", raw.decode("ascii"), json.dumps(json.loads(raw), indent=2))
    for key, table in expected["tables"].items():
        found = pd.read_parquet(os.path.join(root, key))
        check(f"{key} columns", list(found.columns), list(table))
        check(f"{key} index", type(found.index).__name__, "RangeIndex")
        for name, column in table.items():
            if str(found[name].dtype) not in dtype_of(column["dtype"]):
                FAULTS.append(f"{key} {name}: dtype {found[name].dtype}, expected {column['dtype']}")
            check(f"{key} {name}", [cell(value) for value in found[name]], column["values"])


def exported(root, expected):
    for key, array in expected["arrays"].items():
        found = np.load(os.path.join(root, key), allow_pickle=False)
        check(f"{key} dtype", str(found.dtype), array["dtype"])
        check(f"{key} shape", list(found.shape), array["shape"])
        check(f"{key} bytes", native(found), array["bytes"])
    for key, text in expected["json"].items():
        with open(os.path.join(root, key), "rb") as file:
            check(f"{key} value", canonical(json.loads(file.read())), text)
    for key, columns in expected["csv"].items():
        found = pd.read_csv(os.path.join(root, key))
        for name, values in columns.items():
            check(f"{key} {name}", [cell(value) for value in found[name]], values)


# --- what kymhost is to read


def groups(root):
    group = zarr.open_group(root, mode="w")
    group.attrs.update(
        format="kymflow_zarr_v1",
        schema_version=1,
        created_utc="2026-11-22T06:48:04Z",
        updated_utc="2026-11-22T06:48:18Z",
        note="Messung für Zoë",
        scale=float("nan"),
    )
    group.require_group("index")
    return group, group.require_group("images")


def sample(dtype, shape):
    """Values of every sort that a dtype has, its extremes first."""
    dtype = np.dtype(dtype)
    random = np.random.default_rng(len(shape) + dtype.itemsize)
    raw = random.integers(0, 256, size=(*shape, dtype.itemsize), dtype=np.uint8)
    if dtype.kind == "b":
        return (raw[..., 0] % 2).astype(bool)
    values = raw.view(dtype.newbyteorder("=")).reshape(shape)
    if dtype.kind in "iu":
        limits = np.iinfo(values.dtype)
        values.flat[:2] = [limits.min, limits.max]
    else:
        # Equal bits of NaN are not promised by anyone: finite numbers, and what is not in known bits.
        values = random.normal(size=shape).astype(values.dtype)
        values.flat[:3] = [np.nan, np.inf, -np.inf]
    return values.astype(dtype)


def arrays(image, expected):
    blosc = [
        numcodecs.Blosc(name, 5, shuffle)
        for name in numcodecs.blosc.list_compressors()
        for shuffle in (numcodecs.Blosc.NOSHUFFLE, numcodecs.Blosc.SHUFFLE, numcodecs.Blosc.BITSHUFFLE, -1)
    ]
    codecs = [*blosc, numcodecs.Zstd(), numcodecs.Zlib(), numcodecs.GZip(), None]
    shapes = [(7, 9), (3, 4, 5), (2, 3, 4, 5), (2, 2, 3, 4, 3)]
    names = ["|b1"] + [
        f"{order}{code}"
        for code in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16")
        for order in (("|",) if code[1] == "1" and len(code) == 2 else ("<", ">"))
    ]
    cases = []
    for codec in codecs:
        for order in "CF":
            cases.append(dict(dtype="<u2", shape=(33, 20), compressor=codec, order=order))
    for dtype in names:
        for shape in shapes:
            for order in "CF":
                cases.append(dict(dtype=dtype, shape=shape, compressor="default", order=order))
    for separator in "./":
        cases.append(dict(dtype="<f4", shape=(7, 9), compressor="default", order="C", dimension_separator=separator))
    fills = [("<i4", -5), ("<u8", 2**64 - 1), ("<f8", float("nan")), ("<f4", float("-inf")), (">f8", 1.5), ("|b1", True)]
    for dtype, fill in [*fills, ("<c8", 1 + 2j), ("<i2", None)]:
        cases.append(dict(dtype=dtype, shape=(7, 9), compressor="default", order="C", fill_value=fill, holes=True))

    parent = image.require_group("analysis_arrays")
    for number, case in enumerate(cases):
        name = f"case{number:03}"
        values = sample(case["dtype"], case["shape"])
        holes, fill = case.pop("holes", False), case.pop("fill_value", 0)
        group = parent.require_group(name)
        chunks = tuple(max(1, length // 2) for length in case["shape"])
        axes = [f"a{axis}" for axis in range(len(case["shape"]))]
        group.attrs.update(axes=axes, updated_utc="2026-11-22T06:48:18Z")
        array = group.create_dataset("data", chunks=chunks, fill_value=fill, **case)
        if holes:
            array[:3, :4] = values[:3, :4]
        else:
            array[...] = values
        found = np.asarray(array[...])
        if holes and fill is None:
            # What was never written is undefined; kymhost gives zeros.
            found[3:, :], found[:, 4:] = 0, 0
        expected[f"{name}"] = dict(
            dtype=str(found.dtype.newbyteorder("=")), shape=list(found.shape), axes=axes, bytes=native(found), case=str(case)
        )
    # Some writers leave NaN bare where zarr puts it into quotes.
    path = os.path.join(image.store.path, parent.path, "bare_nan", "data", ".zarray")
    group = parent.require_group("bare_nan")
    group.attrs.update(axes=["y", "x"], updated_utc="2026-11-22T06:48:18Z")
    array = group.create_dataset("data", shape=(3, 4), chunks=(2, 2), dtype="<f8", fill_value=float("nan"))
    expected["bare_nan"] = dict(dtype="float64", shape=[3, 4], axes=["y", "x"], bytes=native(array[...]), case="bare NaN")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    with open(path, "w", encoding="utf-8") as file:
        file.write(text.replace('"NaN"', "NaN"))


def tables(folder, expected):
    base = dict(
        text=pd.Series(["a", None, "ü", "d"]),
        integer=pd.Series([1, -2, 3, 2**62]),
        unsigned=pd.Series([1, 2, 3, 2**64 - 1], dtype="uint64"),
        small=pd.Series([1, 2, 3, 4], dtype="int8"),
        double=pd.Series([0.1, np.nan, 1e300, -0.0]),
        single=pd.Series([0.5, np.nan, 2.0, 3.0], dtype="float32"),
        flag=pd.Series([True, False, True, False]),
        maybe=pd.Series([True, None, False, None], dtype=object),
        nullable=pd.Series([1, None, 3, 4], dtype="Int64"),
        yesno=pd.Series([True, None, False, True], dtype="boolean"),
        nothing=pd.Series([None] * 4, dtype=object),
        category=pd.Series(["x", "y", None, "x"], dtype="category"),
        number=pd.Series([7, 8, 7, 8], dtype="category"),
        time=pd.Series(pd.to_datetime([1, 2, 3, None], unit="ns", utc=True)),
        many=pd.Series([[1, 2], [], None, [3]]),
    )
    frame = pd.DataFrame(base)
    cases = {f"codec_{codec}": (frame, dict(compression=codec)) for codec in ("snappy", "gzip", "brotli", "lz4", "zstd")}
    cases["codec_none"] = (frame, dict(compression=None))
    cases["no_dictionary"] = (frame, dict(use_dictionary=False, data_page_version="2.0", version="2.6"))
    cases["row_groups"] = (frame, dict(row_group_size=2))
    cases["empty"] = (frame.iloc[:0], {})
    cases["only_names"] = (pd.DataFrame({"image_id": [], "params_hash": []}, dtype=object), {})
    for name, (frame, options) in cases.items():
        frame.to_parquet(os.path.join(folder, f"{name}.parquet"), index=False, **options)
        expected[name] = {column: [cell(value) for value in frame[column]] for column in frame.columns}


def write(root):
    group, images = groups(root)
    expected = dict(arrays={}, tables={}, dataset_tables={}, json={}, csv={}, pixels={}, attributes={})
    image = images.require_group("11111111-1111-4111-8111-111111111111")
    times = dict(created_utc="2026-11-22T06:48:04Z", updated_utc="2026-11-22T06:48:18Z")
    image.attrs.update(axes=["t", "x"], temperature=float("inf"), **times)
    values = sample("<u2", (600, 30))
    image.create_dataset("data", data=values, chunks=(512, 30), compressor=numcodecs.Blosc("zstd", 3, 2), overwrite=True)
    expected["pixels"] = dict(dtype="uint16", shape=[600, 30], axes=["t", "x"], bytes=native(values))
    expected["attributes"] = canonical(dict(image.attrs))
    arrays(image, expected["arrays"])

    analysis = os.path.join(root, image.path, "analysis")
    os.makedirs(os.path.join(analysis, "nested"), exist_ok=True)
    os.makedirs(os.path.join(root, "tables"), exist_ok=True)
    payloads = {
        "plain": {"b": 1, "a": [1.0, 1e16, 1e-5, -0.0, 0.1, True, None, "ü😀\u2028\"\\\n"], "big": 10**300},
        "nested/numbers": [float("nan"), float("inf"), float("-inf"), -1, 2**63, -(2**63) - 1, 5e-324],
        "metadata": {"version": "1.0", "header": {"acquired_local_epoch_ns": 5}, "experiment_metadata": {}, "rois": []},
    }
    for name, payload in payloads.items():
        with open(os.path.join(analysis, f"{name}.json"), "w", encoding="utf-8") as file:
            json.dump(payload, file, indent=2)
        expected["json"][name] = canonical(payload)
    with gzip.open(os.path.join(analysis, "packed.json.gz"), "wt", encoding="utf-8") as file:
        json.dump(payloads["plain"], file, indent=2, ensure_ascii=False)
    expected["json"]["packed"] = canonical(payloads["plain"])

    tables(analysis, expected["tables"])
    tables(os.path.join(root, "tables"), expected["dataset_tables"])

    frame = pd.DataFrame(dict(n=[1, 2, 3], x=[0.5, np.nan, 1e-7], t=["a", 'b "c", d', None], f=[True, False, True]))
    frame.to_csv(os.path.join(analysis, "sheet.csv.gz"), index=False)
    again = pd.read_csv(os.path.join(analysis, "sheet.csv.gz"))
    expected["csv"]["sheet"] = {column: [cell(value) for value in again[column]] for column in again.columns}
    return expected


def main():
    what, root, file = sys.argv[1:]
    print("zarr", zarr.__version__, "numcodecs", numcodecs.__version__, "pandas", pd.__version__, "numpy", np.__version__)
    if what == "write":
        with open(file, "w", encoding="utf-8") as out:
            json.dump(write(root), out)
        return
    with open(file, encoding="utf-8") as source:
        {"read": read, "exported": exported}[what](root, json.load(source))
    for fault in FAULTS[:50]:
        print("FAULT", fault[:2000])
    print(f"{len(FAULTS)} faults")
    sys.exit(1 if FAULTS else 0)


main()

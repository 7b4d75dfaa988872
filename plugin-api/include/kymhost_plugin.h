/* The C door of kymhost: everything that a plugin in C needs, or in any language that can call C.
 *
 * Plain C99, usable from C++, no dependencies. The contract in words: docs/authors/plugin-abi.md. A complete plugin
 * with comments: plugins/intensity_c. Next to this file: kymhost_table.h builds and reads tables, kymhost_json.h reads
 * JSON.
 *
 * A plugin is a dynamic library with one or more indexers. It defines functions and names them once:
 *
 *     #define STALLS                                                                                    \
 *         KYMHOST_INDEXER("stalls", "mylab.stalls@1", "stalls_run", KYMHOST_NAMES("stalls/params"),     \
 *                         stalls_params, NULL, stalls_extract_rows, NULL)
 *     KYMHOST_PLUGIN(STALLS)
 *
 * Rules for everything here:
 *
 * - Memory. The host owns what it gives through a record (texts, JSON, pixels, lists). A plugin may read it until the
 *   plugin's method returns, and must not write or free it. A plugin gives its results through a `kymhost_out`, which
 *   copies them. So memory is always freed by the allocator that made it. Only tables change their owner: the receiver
 *   of an ArrowArray and ArrowSchema calls their release callbacks, once.
 * - Threads. The host calls a plugin's functions from any thread. It makes several calls at once only if it runs
 *   plugins in its own process (`--in-process`). A plugin may use record and run from several threads of its own at
 *   once, if these threads end before the plugin's method returns.
 * - Texts are UTF-8. A text with a length is followed by a zero byte that the length does not count.
 * - Statuses. 0 is success, 1 means absent, negative numbers are errors (KYMHOST_FAILED and so on).
 * - Growth. Every struct begins with `struct_size`, the size in bytes of its maker's struct, and grows at its end
 *   only. A member beyond `struct_size` is missing (KYMHOST_HAS). The functions below that begin with kymhost_record_,
 *   kymhost_run_ and kymhost_out_ check that: if the host is too old for one, it returns KYMHOST_UNSUPPORTED and a
 *   text that says so. kymhost_text and Arrow's two structs are frozen and have no `struct_size`.
 * - No C++ exception, longjmp or the like may leave a plugin's function. */
#ifndef KYMHOST_PLUGIN_H
#define KYMHOST_PLUGIN_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* The plugin API of this header. */
#define KYMHOST_API_MAJOR 1
#define KYMHOST_API_MINOR 1
/* The version of this header, which the card has as `sdk`. */
#define KYMHOST_SDK "1.1.0"
/* The lowest API of a host that the plugin can run in, "major.minor". Define it before the include if the plugin
 * cannot work without a later function: "1.1" if it hands over artifacts. */
#ifndef KYMHOST_NEEDS_API
#define KYMHOST_NEEDS_API "1.0"
#endif
/* The card's name of this binary contract. */
#define KYMHOST_DOOR "c-1"

#ifdef __cplusplus
extern "C" {
#endif

/* --- Arrow C data: https://arrow.apache.org/docs/format/CDataInterface.html --- */

#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE

#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE 2
#define ARROW_FLAG_MAP_KEYS_SORTED 4

struct ArrowSchema {
    const char *format;
    const char *name;
    const char *metadata;
    int64_t flags;
    int64_t n_children;
    struct ArrowSchema **children;
    struct ArrowSchema *dictionary;
    void (*release)(struct ArrowSchema *);
    void *private_data;
};

struct ArrowArray {
    int64_t length;
    int64_t null_count;
    int64_t offset;
    int64_t n_buffers;
    int64_t n_children;
    const void **buffers;
    struct ArrowArray **children;
    struct ArrowArray *dictionary;
    void (*release)(struct ArrowArray *);
    void *private_data;
};

#endif /* ARROW_C_DATA_INTERFACE */

/* --- Numbers --- */

/* Statuses. Negative ones are errors; a later, unknown one counts as KYMHOST_FAILED. */
#define KYMHOST_OK 0           /* success */
#define KYMHOST_ABSENT 1       /* it does not exist; there is no result */
#define KYMHOST_FAILED (-1)    /* the indexer cannot analyse this image */
#define KYMHOST_PANICKED (-2)  /* the other side ended in an unexpected way */
#define KYMHOST_UNREADABLE (-3) /* an artifact exists but cannot be read */
#define KYMHOST_UNSUPPORTED (-4) /* the host is older than the function that was called */
#define KYMHOST_CANCELLED (-5) /* the indexer stopped because it was asked to */
#define KYMHOST_BAD_TABLE (-6) /* the table breaks Arrow's specification, or its columns do not fit together */

/* The kind of an artifact. A list may contain later ones: skip those that you do not know. */
#define KYMHOST_KIND_JSON 0
#define KYMHOST_KIND_PARQUET 1
#define KYMHOST_KIND_CSV 2
#define KYMHOST_KIND_ARRAY 3

/* The severity of a log line. */
#define KYMHOST_LOG_ERROR 0
#define KYMHOST_LOG_WARN 1
#define KYMHOST_LOG_INFO 2
#define KYMHOST_LOG_DEBUG 3

/* The type of an array's elements. A later host may have more: report an error for one that you do not know. */
#define KYMHOST_DTYPE_BOOL 0 /* one byte, 0 or 1 */
#define KYMHOST_DTYPE_INT8 1
#define KYMHOST_DTYPE_INT16 2
#define KYMHOST_DTYPE_INT32 3
#define KYMHOST_DTYPE_INT64 4
#define KYMHOST_DTYPE_UINT8 5
#define KYMHOST_DTYPE_UINT16 6
#define KYMHOST_DTYPE_UINT32 7
#define KYMHOST_DTYPE_UINT64 8
#define KYMHOST_DTYPE_FLOAT16 9
#define KYMHOST_DTYPE_FLOAT32 10
#define KYMHOST_DTYPE_FLOAT64 11
#define KYMHOST_DTYPE_COMPLEX64 12  /* real and imaginary part, each a float */
#define KYMHOST_DTYPE_COMPLEX128 13 /* real and imaginary part, each a double */

/* --- Structs --- */

/* A borrowed text or bytes. If a function gave it, `data` is not NULL and data[length] is 0. Frozen. */
typedef struct kymhost_text {
    const char *data;
    size_t length;
} kymhost_text;

/* Pixels or an array artifact in C order and native byte order. The host makes it, and frees it after the plugin's
 * method has returned; until then any thread may read it. */
typedef struct kymhost_array {
    size_t struct_size;
    /* KYMHOST_DTYPE_… */
    int dtype;
    /* The number of axes, which is the number of entries of `shape` and `axes`. 0 for a single value. */
    size_t n_axes;
    /* The length of each axis, slowest first. */
    const uint64_t *shape;
    /* A name for each axis, e.g. "y" (time, line scans) and "x" (space, pixels of a line). */
    const char *const *axes;
    /* The elements, aligned for their type. Not NULL. */
    const void *data;
    /* The size of all elements in bytes. */
    size_t n_bytes;
} kymhost_array;

/* The list of a record's artifacts. The host makes it and frees it after the plugin's method has returned. */
typedef struct kymhost_artifacts {
    size_t struct_size;
    /* The number of entries of `names` and `kinds`. */
    size_t length;
    /* The names, sorted. */
    const char *const *names;
    /* The kind of each, KYMHOST_KIND_…. */
    const uint8_t *kinds;
} kymhost_artifacts;

/* One image, read-only. The host makes it; it lives until the plugin's method returns. Call its members through the
 * functions kymhost_record_… below, which document them. The host remembers what is read through it, and what is
 * looked up but absent: if any of it changes, the image is analysed again. The host does not see data that is read in
 * other ways. */
typedef struct kymhost_record kymhost_record;
struct kymhost_record {
    size_t struct_size;
    /* Belongs to the host. */
    void *context;
    const char *(*image_id)(const kymhost_record *record);
    int (*json)(const kymhost_record *record, const char *name, kymhost_text *json, kymhost_text *error);
    int (*table)(const kymhost_record *record, const char *name, int kind, struct ArrowArray *array,
                 struct ArrowSchema *schema, kymhost_text *error);
    int (*pixels)(const kymhost_record *record, const kymhost_array **pixels, kymhost_text *error);
    int (*array)(const kymhost_record *record, const char *name, const kymhost_array **array, kymhost_text *error);
    const char *(*key)(const kymhost_record *record, const char *name, int kind);
    int (*attributes)(const kymhost_record *record, kymhost_text *json, kymhost_text *error);
    int (*artifacts)(const kymhost_record *record, const kymhost_artifacts **artifacts, kymhost_text *error);
    /* 1.0 ends here. */
};

/* The run that an extraction is part of. The host makes it; it lives until extract_rows returns. Call its members
 * through the functions kymhost_run_… below. */
typedef struct kymhost_run kymhost_run;
struct kymhost_run {
    size_t struct_size;
    /* Belongs to the host. */
    void *context;
    int (*cancelled)(const kymhost_run *run);
    uint32_t (*threads)(const kymhost_run *run);
    void (*log)(const kymhost_run *run, int level, const char *message);
    void (*progress)(const kymhost_run *run, double fraction);
    /* 1.0 ends here. */
    int (*put_json)(const kymhost_run *run, const char *name, const char *json, size_t length, kymhost_text *error);
    int (*put_table)(const kymhost_run *run, const char *name, struct ArrowArray *array, struct ArrowSchema *schema,
                     kymhost_text *error);
    int (*put_array)(const kymhost_run *run, const char *name, const kymhost_array *array, kymhost_text *error);
    /* 1.1 ends here. */
};

/* Receives what a plugin's method gives, and copies it. The host makes it; it lives until the plugin's method returns.
 * Only one thread may use it at a time. Call its members through kymhost_out_write and kymhost_fail. */
typedef struct kymhost_out kymhost_out;
struct kymhost_out {
    size_t struct_size;
    /* Belongs to the host. */
    void *context;
    int (*write)(kymhost_out *out, const void *bytes, size_t length);
    void (*error)(kymhost_out *out, const char *text);
    /* 1.0 ends here. */
};

/* One indexer. The plugin makes it as a constant: it and everything that it points to live as long as the process, and
 * are never freed. KYMHOST_INDEXER and KYMHOST_PLUGIN build it. */
typedef struct kymhost_indexer {
    size_t struct_size;
    /* The name of the table without its prefix: [a-z0-9_]+, 1 to 200 bytes, not beginning with kym_. */
    const char *name;
    /* Changes whenever the same inputs would give different rows, e.g. "mylab.stalls@1". 1 to 256 bytes. */
    const char *analysis_version;
    /* The artifact that holds the run marker, usually NAME "_run". 1 to 256 bytes. */
    const char *marker_name;
    /* The JSON artifacts that hold the params, as a JSON list of texts (KYMHOST_NAMES). For people and tools. */
    const char *params_artifacts;
    /* Writes the params to `out` as JSON: everything besides the data that the rows depend on. Their hash decides
     * whether an image is stale, so they must depend on nothing but the record.
     * Thread: any. `record` and `out` are borrowed until it returns. Returns KYMHOST_OK or an error (kymhost_fail). */
    int (*params)(const kymhost_record *record, kymhost_out *out);
    /* Writes the params hash to `out`, 1 to 1024 bytes. Nearly every plugin has NULL here: the host then hashes the
     * result of `params` by the rule of docs/reference/dataset-format.md.
     * Thread: any. `record` and `out` are borrowed until it returns. Returns KYMHOST_OK or an error. */
    int (*params_hash)(const kymhost_record *record, kymhost_out *out);
    /* The rows of this image: one struct array with one child per column (kymhost_table.h builds it). The host adds
     * image_id, analysis_version and params_hash.
     * Thread: any. `record`, `run` and `out` are borrowed until it returns; `out` takes the text of an error, but no
     * bytes. `array` and `schema` are the host's memory, all zero before the call. If they are filled, the host owns
     * them and calls their release callbacks once, from any thread, whatever the status. Returns KYMHOST_OK or an
     * error. */
    int (*extract_rows)(const kymhost_record *record, const kymhost_run *run, struct ArrowArray *array,
                        struct ArrowSchema *schema, kymhost_out *out);
    /* Reads a run marker of an older form: JSON text in `payload`, borrowed until it returns. Writes a marker of
     * version "1" to `out` as JSON. NULL: there are no older forms.
     * Thread: any. Returns KYMHOST_OK, KYMHOST_ABSENT if it is not such a marker, or an error. */
    int (*read_old_marker)(kymhost_text payload, kymhost_out *out);
    /* 1.0 ends here. */
    /* The artifacts that extract_rows may hand over, as a JSON list of objects with `name` and `kind` ("json",
     * "table", "array"): KYMHOST_WRITES. Others are refused. NULL: none. */
    const char *writes;
    /* The artifacts that it reads and another indexer may write, as a JSON list of texts (KYMHOST_NAMES). If both run,
     * the writer runs first. NULL: none. */
    const char *reads;
    /* The JSON Schema of the params, a JSON object. NULL: none. */
    const char *params_schema;
    /* 1.1 ends here. */
} kymhost_indexer;

/* The struct that the library gives to the host. The plugin makes it as a constant, for the life of the process. */
typedef struct kymhost_plugin {
    size_t struct_size;
    /* The API of the header that the plugin was built with. */
    uint32_t api_major;
    uint32_t api_minor;
    /* The card as loaded: KYMCARD\n, length, JSON; see docs/authors/plugin-abi.md. */
    const void *card;
    /* The size of the card in bytes. */
    size_t card_length;
    /* The indexers, each by pointer, so that the struct can grow. */
    const kymhost_indexer *const *indexers;
    size_t n_indexers;
    /* 1.0 ends here. */
} kymhost_plugin;

/* --- Growth --- */

/* Whether the maker of the struct behind `pointer` knew its member. */
#define KYMHOST_HAS(pointer, member)                                        \
    ((size_t)((const char *)&(pointer)->member - (const char *)(pointer)) + \
         sizeof((pointer)->member) <=                                       \
     (pointer)->struct_size)

/* The same for a function, which may also be NULL. */
#define KYMHOST_CAN(pointer, function) (KYMHOST_HAS(pointer, function) && (pointer)->function != NULL)

/* The result of a function that the host lacks. */
static inline int kymhost_unsupported_(const char *text, kymhost_text *error) {
    if (error != NULL) {
        error->data = text;
        error->length = strlen(text);
    }
    return KYMHOST_UNSUPPORTED;
}
#define KYMHOST_UNSUPPORTED_(function, error) \
    kymhost_unsupported_("this kymhost is older than " function "; upgrade kymhost", error)

/* --- Reading a record --- */

/* Each of these may be called from any thread, several at once, until the plugin's method returns. Results belong to
 * the host and live equally long. `error` may be NULL. If the status is an error, it holds a text for people that
 * names the file. Names are zero-terminated UTF-8 and borrowed until the call returns. */

/* The image's id. Never NULL. */
static inline const char *kymhost_record_image_id(const kymhost_record *record) {
    return KYMHOST_CAN(record, image_id) ? record->image_id(record) : "";
}

/* The JSON artifact `name`: KYMHOST_OK and valid JSON in Python's dialect (NaN, large integers) in `json`;
 * KYMHOST_ABSENT; KYMHOST_UNREADABLE if it exists but cannot be read. The host frees the text. */
static inline int kymhost_record_json(const kymhost_record *record, const char *name, kymhost_text *json,
                                      kymhost_text *error) {
    if (!KYMHOST_CAN(record, json)) return KYMHOST_UNSUPPORTED_("kymhost_record_json", error);
    return record->json(record, name, json, error);
}

/* The table artifact `name` of one kind, KYMHOST_KIND_PARQUET or KYMHOST_KIND_CSV: KYMHOST_OK, KYMHOST_ABSENT,
 * KYMHOST_UNREADABLE, or KYMHOST_UNSUPPORTED for a kind that the host does not know. After KYMHOST_OK the caller owns
 * `array` and `schema` and calls both release callbacks once, from any thread, at any time. Otherwise neither is
 * changed. */
static inline int kymhost_record_table_of(const kymhost_record *record, const char *name, int kind,
                                          struct ArrowArray *array, struct ArrowSchema *schema, kymhost_text *error) {
    if (!KYMHOST_CAN(record, table)) return KYMHOST_UNSUPPORTED_("kymhost_record_table_of", error);
    return record->table(record, name, kind, array, schema, error);
}

/* The table artifact `name`: Parquet, or CSV if there is no Parquet. As kymhost_record_table_of. */
static inline int kymhost_record_table(const kymhost_record *record, const char *name, struct ArrowArray *array,
                                       struct ArrowSchema *schema, kymhost_text *error) {
    int status = kymhost_record_table_of(record, name, KYMHOST_KIND_PARQUET, array, schema, error);
    if (status == KYMHOST_ABSENT) {
        status = kymhost_record_table_of(record, name, KYMHOST_KIND_CSV, array, schema, error);
    }
    return status;
}

/* The image's pixels: KYMHOST_OK, KYMHOST_ABSENT or KYMHOST_UNREADABLE. The host frees them. */
static inline int kymhost_record_pixels(const kymhost_record *record, const kymhost_array **pixels,
                                        kymhost_text *error) {
    if (!KYMHOST_CAN(record, pixels)) return KYMHOST_UNSUPPORTED_("kymhost_record_pixels", error);
    return record->pixels(record, pixels, error);
}

/* The array artifact `name`: KYMHOST_OK, KYMHOST_ABSENT or KYMHOST_UNREADABLE. The host frees it. */
static inline int kymhost_record_array(const kymhost_record *record, const char *name, const kymhost_array **array,
                                       kymhost_text *error) {
    if (!KYMHOST_CAN(record, array)) return KYMHOST_UNSUPPORTED_("kymhost_record_array", error);
    return record->array(record, name, array, error);
}

/* The key under which the artifact `name` of a kind is kept or would be, for messages. Never NULL; empty if the host
 * does not know it. The host frees the text. */
static inline const char *kymhost_record_key(const kymhost_record *record, const char *name, int kind) {
    return KYMHOST_CAN(record, key) ? record->key(record, name, kind) : "";
}

/* The record's group attributes as a JSON object, without `updated_utc`: KYMHOST_OK or KYMHOST_UNREADABLE. The host
 * frees the text. */
static inline int kymhost_record_attributes(const kymhost_record *record, kymhost_text *json, kymhost_text *error) {
    if (!KYMHOST_CAN(record, attributes)) return KYMHOST_UNSUPPORTED_("kymhost_record_attributes", error);
    return record->attributes(record, json, error);
}

/* The metadata: the JSON artifact `metadata`. As kymhost_record_json. */
static inline int kymhost_record_metadata(const kymhost_record *record, kymhost_text *json, kymhost_text *error) {
    return kymhost_record_json(record, "metadata", json, error);
}

/* All artifacts, sorted by name, without run markers: KYMHOST_OK or KYMHOST_UNREADABLE. The host frees the list. */
static inline int kymhost_record_artifacts(const kymhost_record *record, const kymhost_artifacts **artifacts,
                                           kymhost_text *error) {
    if (!KYMHOST_CAN(record, artifacts)) return KYMHOST_UNSUPPORTED_("kymhost_record_artifacts", error);
    return record->artifacts(record, artifacts, error);
}

/* --- The run --- */

/* Each of these may be called from any thread, several at once, until extract_rows returns. */

/* Whether to stop: 1 or 0. It is cheap: long loops should ask now and then, and return KYMHOST_CANCELLED. */
static inline int kymhost_run_cancelled(const kymhost_run *run) {
    return KYMHOST_CAN(run, cancelled) ? run->cancelled(run) : 0;
}

/* How many threads this extraction may use, including its own: at least 1. */
static inline uint32_t kymhost_run_threads(const kymhost_run *run) {
    return KYMHOST_CAN(run, threads) ? run->threads(run) : 1;
}

/* Writes a line to the host's log; `level` is KYMHOST_LOG_…. The text is borrowed until the call returns. */
static inline void kymhost_run_log(const kymhost_run *run, int level, const char *message) {
    if (KYMHOST_CAN(run, log)) run->log(run, level, message);
}

/* Reports which fraction of this image is done, 0 to 1. */
static inline void kymhost_run_progress(const kymhost_run *run, double fraction) {
    if (KYMHOST_CAN(run, progress)) run->progress(run, fraction);
}

/* Since 1.1. Each of these hands the host an artifact of this image, which replaces an earlier one. The host keeps it
 * together with the rows: if the extraction fails, the artifact is discarded. Returns KYMHOST_OK; KYMHOST_FAILED if
 * the indexer's `writes` does not name it, it was handed over before, or it is not valid; KYMHOST_BAD_TABLE for a
 * table that is not valid; KYMHOST_UNSUPPORTED if the host is older than 1.1. Any thread of the extraction may call
 * them, several at once. `name` need only live until the call returns. `error` may be NULL; its text belongs to the
 * host and lives until extract_rows returns. */

/* A JSON artifact: `length` bytes of text, copied before the call returns. */
static inline int kymhost_run_put_json(const kymhost_run *run, const char *name, const char *json, size_t length,
                                       kymhost_text *error) {
    if (!KYMHOST_CAN(run, put_json)) return KYMHOST_UNSUPPORTED_("kymhost_run_put_json", error);
    return run->put_json(run, name, json, length, error);
}

/* A table artifact: one struct array with one child per column. Whatever the status, the host owns the contents of
 * both structs from then on and calls the release callbacks; the caller's structs are marked as released. The
 * exception is KYMHOST_UNSUPPORTED of an older host: then the caller still owns them. */
static inline int kymhost_run_put_table(const kymhost_run *run, const char *name, struct ArrowArray *array,
                                        struct ArrowSchema *schema, kymhost_text *error) {
    if (!KYMHOST_CAN(run, put_table)) return KYMHOST_UNSUPPORTED_("kymhost_run_put_table", error);
    return run->put_table(run, name, array, schema, error);
}

/* An array artifact. All of it is copied before the call returns; the caller keeps its own. Set all members of
 * `array`; `struct_size` is sizeof(kymhost_array). */
static inline int kymhost_run_put_array(const kymhost_run *run, const char *name, const kymhost_array *array,
                                        kymhost_text *error) {
    if (!KYMHOST_CAN(run, put_array)) return KYMHOST_UNSUPPORTED_("kymhost_run_put_array", error);
    return run->put_array(run, name, array, error);
}

/* --- Giving results --- */

/* Appends bytes to the method's result. The host copies them before the call returns; the caller keeps its own. One
 * thread at a time. Returns KYMHOST_OK, or an error if it is too much; the method should then return that. */
static inline int kymhost_out_write(kymhost_out *out, const void *bytes, size_t length) {
    return KYMHOST_CAN(out, write) ? out->write(out, bytes, length) : KYMHOST_UNSUPPORTED;
}

/* The same for a zero-terminated text. */
static inline int kymhost_out_text(kymhost_out *out, const char *text) {
    return kymhost_out_write(out, text, strlen(text));
}

/* Sets the text of the error that the method is about to return; the last one is used. It is copied before the call
 * returns. One thread at a time. Returns `status`, so that a method can end with `return kymhost_error(out,
 * KYMHOST_FAILED, "…");` */
static inline int kymhost_error(kymhost_out *out, int status, const char *text) {
    if (KYMHOST_CAN(out, error)) out->error(out, text);
    return status;
}

/* The same with a text in printf's format, cut to 1023 bytes. */
#if defined(__GNUC__) || defined(__clang__)
__attribute__((format(printf, 3, 4)))
#endif
static inline int kymhost_fail(kymhost_out *out, int status, const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return kymhost_error(out, status, text);
}

/* --- The card and the exported function --- */

/* Lists of names, each a JSON list in one literal. */
#define KYMHOST_NO_NAMES "[]"
#define KYMHOST_NAMES(a) "[\"" a "\"]"
#define KYMHOST_NAMES2(a, b) "[\"" a "\",\"" b "\"]"
#define KYMHOST_NAMES3(a, b, c) "[\"" a "\",\"" b "\",\"" c "\"]"
#define KYMHOST_NAMES4(a, b, c, d) "[\"" a "\",\"" b "\",\"" c "\",\"" d "\"]"

/* The artifacts that an indexer writes, a JSON list in one literal: KYMHOST_WRITES(KYMHOST_WRITE("stalls/table",
 * "table")). */
#define KYMHOST_WRITE(name, kind) "{\"name\":\"" name "\",\"kind\":\"" kind "\"}"
#define KYMHOST_WRITES(a) "[" a "]"
#define KYMHOST_WRITES2(a, b) "[" a "," b "]"
#define KYMHOST_WRITES3(a, b, c) "[" a "," b "," c "]"
#define KYMHOST_NO_SCHEMA "{}"

/* One indexer, as the value of a macro of yours. The first three arguments are string literals without quotes and
 * backslashes in them, the fourth is one of the lists above. Then come the four functions; `params_hash` and
 * `read_old_marker` may be NULL. Card and struct are made from the same literals, so they cannot differ. */
#define KYMHOST_INDEXER(name, analysis_version, marker_name, params_artifacts, params, params_hash, extract_rows, \
                        read_old_marker)                                                                          \
    KYMHOST_MAKER(name, analysis_version, marker_name, params_artifacts, params, params_hash, extract_rows,       \
                  read_old_marker, KYMHOST_NO_NAMES, KYMHOST_NO_NAMES, KYMHOST_NO_SCHEMA)

/* The same for an indexer that writes artifacts, reads those of others, or declares the schema of its params (since
 * 1.1): `writes` is one of the lists of KYMHOST_WRITES, `reads` a list of names, `params_schema` a JSON object in one
 * literal. */
#define KYMHOST_MAKER(name, analysis_version, marker_name, params_artifacts, params, params_hash, extract_rows, \
                      read_old_marker, writes, reads, params_schema)                                            \
    (name, analysis_version, marker_name, params_artifacts, params, params_hash, extract_rows, read_old_marker, \
     writes, reads, params_schema)

#define KYMHOST_CARD_ENTRY_(name, analysis_version, marker_name, params_artifacts, params, params_hash, extract_rows, \
                            read_old_marker, writes, reads, params_schema)                                            \
    "{\"name\":\"" name "\",\"analysis_version\":\"" analysis_version "\",\"marker\":\"" marker_name                  \
    "\",\"params_artifacts\":" params_artifacts ",\"writes\":" writes ",\"reads\":" reads                             \
    ",\"params_schema\":" params_schema "}"

#define KYMHOST_STRUCT_(name, analysis_version, marker_name, params_artifacts, params, params_hash, extract_rows, \
                        read_old_marker, writes, reads, params_schema)                                            \
    {                                                                                                             \
        sizeof(kymhost_indexer), name, analysis_version, marker_name, params_artifacts, params, params_hash,      \
            extract_rows, read_old_marker, writes, reads, params_schema                                           \
    }

#define KYMHOST_TEXT_(x) #x
#define KYMHOST_TEXT_OF_(x) KYMHOST_TEXT_(x)
#define KYMHOST_API_TEXT_ KYMHOST_TEXT_OF_(KYMHOST_API_MAJOR) "." KYMHOST_TEXT_OF_(KYMHOST_API_MINOR)

#if defined(__clang__)
#define KYMHOST_COMPILER_ "clang " KYMHOST_TEXT_OF_(__clang_major__) "." KYMHOST_TEXT_OF_(__clang_minor__)
#elif defined(__GNUC__)
#define KYMHOST_COMPILER_ "gcc " __VERSION__
#elif defined(_MSC_VER)
#define KYMHOST_COMPILER_ "msvc " KYMHOST_TEXT_OF_(_MSC_VER)
#else
#define KYMHOST_COMPILER_ "unknown"
#endif

#if defined(__x86_64__) || defined(_M_X64)
#define KYMHOST_ARCH_ "x86_64"
#elif defined(__aarch64__) || defined(_M_ARM64)
#define KYMHOST_ARCH_ "aarch64"
#elif defined(__riscv) && __riscv_xlen == 64
#define KYMHOST_ARCH_ "riscv64gc"
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
#define KYMHOST_ARCH_ "powerpc64le"
#else
#define KYMHOST_ARCH_ "unknown"
#endif

#if defined(__APPLE__)
#define KYMHOST_TARGET_ KYMHOST_ARCH_ "-apple-darwin"
#elif defined(_WIN32) && defined(_MSC_VER)
#define KYMHOST_TARGET_ KYMHOST_ARCH_ "-pc-windows-msvc"
#elif defined(_WIN32)
#define KYMHOST_TARGET_ KYMHOST_ARCH_ "-pc-windows-gnu"
#elif defined(__linux__) && defined(__GLIBC__)
#define KYMHOST_TARGET_ KYMHOST_ARCH_ "-unknown-linux-gnu"
#elif defined(__linux__)
#define KYMHOST_TARGET_ KYMHOST_ARCH_ "-unknown-linux-musl"
#elif defined(__FreeBSD__)
#define KYMHOST_TARGET_ KYMHOST_ARCH_ "-unknown-freebsd"
#else
#define KYMHOST_TARGET_ KYMHOST_ARCH_ "-unknown-unknown"
#endif

#if defined(__APPLE__)
#define KYMHOST_IN_SECTION_ __attribute__((used, section("__DATA,__kymhost")))
#elif defined(_MSC_VER)
#pragma section(".kymhost", read)
#define KYMHOST_IN_SECTION_ __declspec(allocate(".kymhost"))
#else
#define KYMHOST_IN_SECTION_ __attribute__((used, section(".kymhost")))
#endif

#if defined(_WIN32)
#define KYMHOST_EXPORT_ __declspec(dllexport)
#else
#define KYMHOST_EXPORT_ __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
#define KYMHOST_EXTERN_C_ extern "C"
#else
#define KYMHOST_EXTERN_C_
#endif

#define KYMHOST_CARD_(entries)                                                                                       \
    "{\"card\":1,\"api\":\"" KYMHOST_API_TEXT_ "\",\"needs_api\":\"" KYMHOST_NEEDS_API                               \
    "\",\"door\":\"" KYMHOST_DOOR "\",\"sdk\":\"" KYMHOST_SDK "\",\"rustc\":\"" KYMHOST_COMPILER_                    \
    "\",\"target\":\"" KYMHOST_TARGET_ "\",\"indexers\":[" entries "]}"

#define KYMHOST_LIBRARY_(json_text, count)                                                                           \
    struct kymhost_card_block_ {                                                                                     \
        char magic[8];                                                                                               \
        unsigned char length[4];                                                                                     \
        char json[sizeof(json_text)];                                                                                \
    };                                                                                                               \
    KYMHOST_IN_SECTION_ static const struct kymhost_card_block_ kymhost_card_ = {                                    \
        {'K', 'Y', 'M', 'C', 'A', 'R', 'D', '\n'},                                                                   \
        {(unsigned char)((sizeof(json_text) - 1) & 255), (unsigned char)((sizeof(json_text) - 1) >> 8 & 255),        \
         (unsigned char)((sizeof(json_text) - 1) >> 16 & 255), (unsigned char)((sizeof(json_text) - 1) >> 24 & 255)}, \
        json_text};                                                                                                  \
    static const kymhost_plugin kymhost_plugin_ = {                                                                  \
        sizeof(kymhost_plugin), KYMHOST_API_MAJOR,        KYMHOST_API_MINOR, &kymhost_card_,                         \
        12 + sizeof(json_text) - 1, kymhost_indexer_list_, count};                                                   \
    KYMHOST_EXTERN_C_ KYMHOST_EXPORT_ const kymhost_plugin *kymhost_plugin_c1(void) { return &kymhost_plugin_; }     \
    struct kymhost_plugin_is_named_once_

/* Makes a library of one indexer; `one` is a macro whose value is a KYMHOST_INDEXER. Use it once in a library. It
 * defines the one function that a C plugin exports:
 *
 *     const kymhost_plugin *kymhost_plugin_c1(void);
 *
 * The host calls it once, from any thread. Its result lives as long as the process and is never freed. */
#define KYMHOST_PLUGIN(one)                                                        \
    static const kymhost_indexer kymhost_indexer_1_ = KYMHOST_STRUCT_ one;         \
    static const kymhost_indexer *const kymhost_indexer_list_[] = {&kymhost_indexer_1_}; \
    KYMHOST_LIBRARY_(KYMHOST_CARD_(KYMHOST_CARD_ENTRY_ one), 1)

/* The same for two indexers. */
#define KYMHOST_PLUGIN2(one, two)                                                                             \
    static const kymhost_indexer kymhost_indexer_1_ = KYMHOST_STRUCT_ one;                                    \
    static const kymhost_indexer kymhost_indexer_2_ = KYMHOST_STRUCT_ two;                                    \
    static const kymhost_indexer *const kymhost_indexer_list_[] = {&kymhost_indexer_1_, &kymhost_indexer_2_}; \
    KYMHOST_LIBRARY_(KYMHOST_CARD_(KYMHOST_CARD_ENTRY_ one "," KYMHOST_CARD_ENTRY_ two), 2)

/* The same for three. */
#define KYMHOST_PLUGIN3(one, two, three)                                                                     \
    static const kymhost_indexer kymhost_indexer_1_ = KYMHOST_STRUCT_ one;                                   \
    static const kymhost_indexer kymhost_indexer_2_ = KYMHOST_STRUCT_ two;                                   \
    static const kymhost_indexer kymhost_indexer_3_ = KYMHOST_STRUCT_ three;                                 \
    static const kymhost_indexer *const kymhost_indexer_list_[] = {&kymhost_indexer_1_, &kymhost_indexer_2_, \
                                                                   &kymhost_indexer_3_};                     \
    KYMHOST_LIBRARY_(                                                                                        \
        KYMHOST_CARD_(KYMHOST_CARD_ENTRY_ one "," KYMHOST_CARD_ENTRY_ two "," KYMHOST_CARD_ENTRY_ three), 3)

#ifdef __cplusplus
}
#endif

#endif /* KYMHOST_PLUGIN_H */

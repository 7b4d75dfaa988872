/* A plugin that uses everything that a plugin in C can use, for the tests of the binary contract: the counterpart of
 * abi_probe.
 *
 * It has two indexers; `abi_probe` does what the JSON artifact `probe/params` says under `do`. It is never installed. */
#include "kymhost_json.h"
#include "kymhost_plugin.h"
#include "kymhost_table.h"

#include <pthread.h>

/* --- what to do --- */

static int what_to_do(const kymhost_record *record, char *what, size_t size, kymhost_out *out) {
    kymhost_text json, value, string, error;
    int status = kymhost_record_json(record, "probe/params", &json, &error);
    what[0] = 0;
    if (status < 0) return kymhost_fail(out, status, "%s", error.data);
    if (status == KYMHOST_OK && kymhost_json_member(json, "do", &value) && kymhost_json_string(value, &string) &&
        string.length < size) {
        memcpy(what, string.data, string.length);
        what[string.length] = 0;
    }
    return KYMHOST_OK;
}

static int probe_params(const kymhost_record *record, kymhost_out *out) {
    kymhost_text json, error;
    char what[64];
    int status = what_to_do(record, what, sizeof what, out);
    if (status < 0) return status;
    if (strcmp(what, "params_panic") == 0) {
        return kymhost_fail(out, KYMHOST_PANICKED, "no params for %s", kymhost_record_image_id(record));
    }
    if (strcmp(what, "params_error") == 0) return kymhost_error(out, KYMHOST_FAILED, "no params today");
    status = kymhost_record_json(record, "probe/params", &json, &error);
    if (status < 0) return kymhost_fail(out, status, "%s", error.data);
    if (status == KYMHOST_ABSENT) return kymhost_out_text(out, "null");
    return kymhost_out_write(out, json.data, json.length);
}

/* --- the report: one row for each question to a record or run --- */

typedef struct report {
    kymhost_table table;
    int asked;
    int answer;
} report;

static void add(report *to, const char *asked, const char *answer) {
    kymhost_table_add_utf8(&to->table, to->asked, asked);
    kymhost_table_add_utf8(&to->table, to->answer, answer);
}

static const char *status_name(int status) {
    switch (status) {
    case KYMHOST_ABSENT: return "None";
    case KYMHOST_FAILED: return "Failed";
    case KYMHOST_PANICKED: return "Panicked";
    case KYMHOST_UNREADABLE: return "Unreadable";
    case KYMHOST_UNSUPPORTED: return "Unsupported";
    default: return "?";
    }
}

static void add_text(report *to, const char *asked, int status, kymhost_text text) {
    add(to, asked, status == KYMHOST_OK ? text.data : status_name(status));
}

static void add_table(report *to, const char *asked, int status, struct ArrowArray *array, struct ArrowSchema *schema) {
    char text[512];
    int64_t i;
    size_t used;
    if (status != KYMHOST_OK) {
        add(to, asked, status_name(status));
        return;
    }
    used = (size_t)snprintf(text, sizeof text, "Some((%lld, [", (long long)array->length);
    for (i = 0; i < schema->n_children; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "%s\"%s\"", i > 0 ? ", " : "",
                                 schema->children[i]->name);
    }
    snprintf(text + used, sizeof text - used, "]))");
    add(to, asked, text);
    kymhost_table_release(array, schema);
}

static void add_array(report *to, const char *asked, int status, const kymhost_array *array) {
    char text[512];
    size_t used, i;
    if (status != KYMHOST_OK) {
        add(to, asked, status_name(status));
        return;
    }
    used = (size_t)snprintf(text, sizeof text, "%s, [",
                            array->dtype == KYMHOST_DTYPE_FLOAT32 ? "Float32"
                            : array->dtype == KYMHOST_DTYPE_UINT8 ? "UInt8"
                                                                  : "other");
    for (i = 0; i < array->n_axes; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%llu", i > 0 ? ", " : "",
                                 (unsigned long long)array->shape[i]);
    }
    used += (size_t)snprintf(text + used, sizeof text - used, "], [");
    for (i = 0; i < array->n_axes; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "%s\"%s\"", i > 0 ? ", " : "", array->axes[i]);
    }
    used += (size_t)snprintf(text + used, sizeof text - used, "], [");
    for (i = 0; i < array->n_bytes && array->dtype == KYMHOST_DTYPE_UINT8; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%u", i > 0 ? ", " : "",
                                 ((const unsigned char *)array->data)[i]);
    }
    snprintf(text + used, sizeof text - used, "]");
    add(to, asked, text);
}

static int report_all(const kymhost_record *record, const kymhost_run *run, struct ArrowArray *array,
                      struct ArrowSchema *schema, kymhost_out *out) {
    report to = {KYMHOST_TABLE, 0, 0};
    kymhost_text text, error;
    const kymhost_array *pixels = NULL;
    const kymhost_artifacts *artifacts = NULL;
    struct ArrowArray of;
    struct ArrowSchema as;
    char line[2048];
    size_t used, i;
    int status;
    to.asked = kymhost_table_column(&to.table, "asked", KYMHOST_UTF8);
    to.answer = kymhost_table_column(&to.table, "answer", KYMHOST_UTF8);
    add(&to, "image_id", kymhost_record_image_id(record));
    status = kymhost_record_json(record, "probe/params", &text, &error);
    add_text(&to, "json", status, text);
    status = kymhost_record_json(record, "probe/absent", &text, &error);
    add_text(&to, "json_absent", status, text);
    status = kymhost_record_json(record, "probe/broken", &text, &error);
    add_text(&to, "json_broken", status, text);
    status = kymhost_record_metadata(record, &text, &error);
    add_text(&to, "metadata", status, text);
    status = kymhost_record_attributes(record, &text, &error);
    add_text(&to, "attributes", status, text);
    status = kymhost_record_table(record, "probe/table", &of, &as, &error);
    add_table(&to, "table", status, &of, &as);
    status = kymhost_record_table_of(record, "probe/absent", KYMHOST_KIND_PARQUET, &of, &as, &error);
    add_table(&to, "parquet_absent", status, &of, &as);
    status = kymhost_record_table_of(record, "probe/csv", KYMHOST_KIND_CSV, &of, &as, &error);
    add_table(&to, "csv", status, &of, &as);
    status = kymhost_record_table(record, "probe/csv", &of, &as, &error);
    add_table(&to, "table_from_csv", status, &of, &as);
    status = kymhost_record_pixels(record, &pixels, &error);
    add_array(&to, "pixels", status, pixels);
    status = kymhost_record_array(record, "probe/array", &pixels, &error);
    add_array(&to, "array", status, pixels);
    status = kymhost_record_artifacts(record, &artifacts, &error);
    used = 0;
    line[0] = 0;
    for (i = 0; status == KYMHOST_OK && i < artifacts->length && used < sizeof line; i++) {
        used += (size_t)snprintf(line + used, sizeof line - used, "%s %u; ", artifacts->names[i], artifacts->kinds[i]);
    }
    add(&to, "artifacts", status == KYMHOST_OK ? line : status_name(status));
    add(&to, "key", kymhost_record_key(record, "probe/params", KYMHOST_KIND_JSON));
    snprintf(line, sizeof line, "%u", (unsigned)kymhost_run_threads(run));
    add(&to, "threads", line);
    add(&to, "cancelled", kymhost_run_cancelled(run) ? "true" : "false");
    kymhost_run_log(run, KYMHOST_LOG_INFO, "the probe reports");
    kymhost_run_progress(run, 1.0);
    return kymhost_table_finish(&to.table, array, schema, out);
}

/* --- threads --- */

typedef struct reader {
    const kymhost_record *record;
    int fine;
} reader;

static void *read_often(void *context) {
    reader *it = (reader *)context;
    kymhost_text json, error;
    const kymhost_array *pixels;
    int i;
    for (i = 0; i < 50; i++) {
        it->fine += kymhost_record_json(it->record, "probe/params", &json, &error) == KYMHOST_OK &&
                    kymhost_json_is_object(json) &&
                    kymhost_record_pixels(it->record, &pixels, NULL) == KYMHOST_OK && pixels->n_bytes == 6;
    }
    return NULL;
}

static int in_threads(const kymhost_record *record, struct ArrowArray *array, struct ArrowSchema *schema,
                      kymhost_out *out) {
    kymhost_table table = KYMHOST_TABLE;
    int fine = kymhost_table_column(&table, "fine", KYMHOST_INT64);
    pthread_t threads[4];
    reader readers[4];
    int i;
    for (i = 0; i < 4; i++) {
        readers[i].record = record;
        readers[i].fine = 0;
        if (pthread_create(&threads[i], NULL, read_often, &readers[i]) != 0) {
            return kymhost_error(out, KYMHOST_FAILED, "no thread");
        }
    }
    for (i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        kymhost_table_add_int64(&table, fine, readers[i].fine);
    }
    return kymhost_table_finish(&table, array, schema, out);
}

/* --- tables, good and bad --- */

static int numbers(const char *first, const char *second, int rows, struct ArrowArray *array,
                   struct ArrowSchema *schema, kymhost_out *out) {
    kymhost_table table = KYMHOST_TABLE;
    int a = kymhost_table_column(&table, first, KYMHOST_DOUBLE);
    int b = second != NULL ? kymhost_table_column(&table, second, KYMHOST_DOUBLE) : -1;
    int i;
    for (i = 0; i < rows; i++) {
        kymhost_table_add_double(&table, a, i);
        if (b >= 0) kymhost_table_add_double(&table, b, i);
    }
    return kymhost_table_finish(&table, array, schema, out);
}

/* All types, more cells than bits in a byte, every third one missing. */
static int all_types(struct ArrowArray *array, struct ArrowSchema *schema, kymhost_out *out) {
    kymhost_table table = KYMHOST_TABLE;
    int i64 = kymhost_table_column(&table, "i", KYMHOST_INT64);
    int f64 = kymhost_table_column(&table, "f", KYMHOST_DOUBLE);
    int b = kymhost_table_column(&table, "b", KYMHOST_BOOL);
    int u = kymhost_table_column(&table, "u", KYMHOST_UTF8);
    char text[32];
    int i;
    for (i = 0; i < 20; i++) {
        if (i % 3 == 2) {
            kymhost_table_add_missing(&table, i64);
            kymhost_table_add_missing(&table, f64);
            kymhost_table_add_missing(&table, b);
            kymhost_table_add_utf8(&table, u, NULL);
            continue;
        }
        kymhost_table_add_int64(&table, i64, INT64_MIN + i);
        kymhost_table_add_double(&table, f64, i / 2.0);
        kymhost_table_add_bool(&table, b, i % 2);
        snprintf(text, sizeof text, "%.*s", i, "\xc3\xa4zwanzig Zeichen lang!");
        kymhost_table_add_utf8(&table, u, i == 1 ? "" : text);
    }
    return kymhost_table_finish(&table, array, schema, out);
}

/* Reads the table artifact `probe/table` cell by cell, and gives it back with its cells as text. */
static int read_back(const kymhost_record *record, struct ArrowArray *array, struct ArrowSchema *schema,
                     kymhost_out *out) {
    struct ArrowArray of;
    struct ArrowSchema as;
    kymhost_text error, text;
    kymhost_cells a, b, none;
    kymhost_table table = KYMHOST_TABLE;
    int cell = kymhost_table_column(&table, "cell", KYMHOST_UTF8);
    char line[128];
    double value;
    int64_t row;
    int status = kymhost_record_table(record, "probe/table", &of, &as, &error);
    if (status != KYMHOST_OK) {
        kymhost_table_free(&table);
        return kymhost_fail(out, status < 0 ? status : KYMHOST_FAILED, "no table");
    }
    if (!kymhost_cells_of(&of, &as, "a", &a) || !kymhost_cells_of(&of, &as, "b", &b) ||
        kymhost_cells_of(&of, &as, "c", &none)) {
        kymhost_table_free(&table);
        kymhost_table_release(&of, &as);
        return kymhost_fail(out, KYMHOST_FAILED, "other columns");
    }
    for (row = 0; row <= kymhost_table_rows(&of); row++) {
        snprintf(line, sizeof line, "%g %.*s", kymhost_cell_double(&a, row, &value) ? value : -1.0,
                 kymhost_cell_text(&b, row, &text) ? (int)text.length : 1,
                 kymhost_cell_text(&b, row, &text) ? text.data : "-");
        kymhost_table_add_utf8(&table, cell, line);
    }
    kymhost_table_release(&of, &as);
    return kymhost_table_finish(&table, array, schema, out);
}

static int probe_extract_rows(const kymhost_record *record, const kymhost_run *run, struct ArrowArray *array,
                              struct ArrowSchema *schema, kymhost_out *out) {
    char what[64];
    kymhost_text json, error;
    int status = what_to_do(record, what, sizeof what, out);
    if (status < 0) return status;
#if defined(LEAKS) || defined(OVERREADS)
    {
        /* For the test that checks that such a leak is found. */
        volatile unsigned char *lost = malloc(16);
        if (lost == NULL) return KYMHOST_FAILED;
#ifdef OVERREADS
        if (lost[16] == 1 && what[0] == 1) return KYMHOST_FAILED;
        free((void *)lost);
#endif
    }
#endif
    if (strcmp(what, "panic") == 0) {
        return kymhost_fail(out, KYMHOST_PANICKED, "the probe panics for %s", kymhost_record_image_id(record));
    }
    if (strcmp(what, "panic_in_thread") == 0) return kymhost_error(out, KYMHOST_PANICKED, "a thread's panic");
    if (strcmp(what, "error") == 0) return kymhost_error(out, KYMHOST_FAILED, "the probe gives up");
    if (strcmp(what, "unreadable") == 0) {
        status = kymhost_record_json(record, "probe/broken", &json, &error);
        if (status < 0) return kymhost_fail(out, status, "%s", error.data);
    }
    if (strcmp(what, "cancelled") == 0 && kymhost_run_cancelled(run)) {
        return kymhost_error(out, KYMHOST_CANCELLED, "the probe was asked to stop");
    }
    if (strcmp(what, "print") == 0) {
        printf("the probe prints to standard output\n");
        fflush(stdout);
        return numbers("a", NULL, 1, array, schema, out);
    }
    if (strcmp(what, "ragged") == 0) {
        status = numbers("a", "b", 2, array, schema, out);
        if (status == KYMHOST_OK) array->children[1]->length = 1;
        return status;
    }
    if (strcmp(what, "duplicate") == 0) return numbers("a", "a", 2, array, schema, out);
    if (strcmp(what, "unnamed") == 0) return numbers("a", "", 2, array, schema, out);
    if (strcmp(what, "no_rows") == 0) return numbers("a", NULL, 0, array, schema, out);
    if (strcmp(what, "cut_to_no_rows") == 0) {
        kymhost_table table = KYMHOST_TABLE;
        int a = kymhost_table_column(&table, "a", KYMHOST_UTF8);
        kymhost_table_add_utf8(&table, a, "one");
        status = kymhost_table_finish(&table, array, schema, out);
        array->length = 0;
        array->children[0]->length = 0;
        array->children[0]->offset = 1;
        return status;
    }
    if (strcmp(what, "all_types") == 0) return all_types(array, schema, out);
    if (strcmp(what, "read_back") == 0) return read_back(record, array, schema, out);
    if (strcmp(what, "threads") == 0) return in_threads(record, array, schema, out);
    /* Errors that kymhost_table_finish reports. */
    if (strcmp(what, "ragged_builder") == 0) {
        kymhost_table table = KYMHOST_TABLE;
        int a = kymhost_table_column(&table, "a", KYMHOST_INT64);
        (void)kymhost_table_column(&table, "b", KYMHOST_BOOL);
        kymhost_table_add_int64(&table, a, 1);
        return kymhost_table_finish(&table, array, schema, out);
    }
    if (strcmp(what, "wrong_cell") == 0) {
        kymhost_table table = KYMHOST_TABLE;
        int a = kymhost_table_column(&table, "a", KYMHOST_INT64);
        kymhost_table_add_double(&table, a, 1.0);
        return kymhost_table_finish(&table, array, schema, out);
    }
    /* What the host must accept without harm. */
    if (strcmp(what, "absent") == 0) return KYMHOST_ABSENT;
    if (strcmp(what, "status_1000") == 0) return 1000;
    if (strcmp(what, "status_minus_1000") == 0) return -1000;
    if (strcmp(what, "status_later") == 0) return kymhost_error(out, -7, "of a later version");
    if (strcmp(what, "nothing_filled") == 0) return KYMHOST_OK;
    if (strcmp(what, "no_schema") == 0) {
        status = numbers("a", NULL, 1, array, schema, out);
        schema->release(schema);
        return status;
    }
    if (strcmp(what, "filled_and_failed") == 0) {
        (void)numbers("a", "b", 1000, array, schema, out);
        return kymhost_error(out, KYMHOST_FAILED, "filled and failed");
    }
    if (strcmp(what, "no_format") == 0) {
        status = numbers("a", NULL, 1, array, schema, out);
        schema->children[0]->format = NULL;
        return status;
    }
    if (strcmp(what, "null_child") == 0) {
        struct ArrowArray *child;
        struct ArrowSchema *of;
        status = numbers("a", "b", 1, array, schema, out);
        child = array->children[1];
        of = schema->children[1];
        child->release(child);
        of->release(of);
        array->children[1] = NULL;
        array->n_children = 2;
        /* Releasing skips what no longer exists. */
        schema->children[1] = NULL;
        array->children[1] = NULL;
        return status;
    }
    if (strcmp(what, "not_utf8") == 0) return kymhost_error(out, KYMHOST_FAILED, "caf\xe9 \x1b[31m");
    if (strcmp(what, "null_pointers") == 0) {
        /* What a wrong plugin may ask for: each must be an error, and none may crash the host. */
        int wrong = 0;
        wrong += record->json(record, NULL, &json, &error) == KYMHOST_FAILED;
        wrong += record->json(record, "probe/params", NULL, &error) == KYMHOST_FAILED;
        wrong += record->json(record, "caf\xe9", &json, NULL) == KYMHOST_FAILED;
        wrong += record->json(NULL, "probe/params", &json, &error) == KYMHOST_FAILED;
        wrong += record->pixels(record, NULL, NULL) == KYMHOST_FAILED;
        wrong += record->table(record, "probe/table", KYMHOST_KIND_PARQUET, NULL, NULL, NULL) == KYMHOST_FAILED;
        wrong += record->table(record, "probe/table", 77, array, schema, NULL) == KYMHOST_UNSUPPORTED;
        wrong += record->table(record, "probe/table", -1, array, schema, NULL) == KYMHOST_UNSUPPORTED;
        wrong += record->artifacts(record, NULL, NULL) == KYMHOST_FAILED;
        wrong += strcmp(record->key(record, NULL, 0), "") == 0 && strcmp(record->key(record, "a", 99), "") == 0;
        wrong += out->write(out, NULL, 5) == KYMHOST_FAILED && out->write(out, "", SIZE_MAX) == KYMHOST_FAILED;
        wrong += run->cancelled(NULL) == 1 && run->threads(NULL) == 1;
        run->log(run, 99, NULL);
        return kymhost_fail(out, KYMHOST_FAILED, "%d wrong", wrong);
    }
    return report_all(record, run, array, schema, out);
}

/* --- the second indexer --- */

static int second_params(const kymhost_record *record, kymhost_out *out) {
    (void)record;
    return kymhost_out_text(out, "null");
}

static int second_params_hash(const kymhost_record *record, kymhost_out *out) {
    int status = kymhost_out_text(out, "own hash of ");
    return status < 0 ? status : kymhost_out_text(out, kymhost_record_image_id(record));
}

static int second_extract_rows(const kymhost_record *record, const kymhost_run *run, struct ArrowArray *array,
                               struct ArrowSchema *schema, kymhost_out *out) {
    kymhost_table table = KYMHOST_TABLE;
    int version = kymhost_table_column(&table, "version", KYMHOST_UTF8);
    (void)record;
    (void)run;
    kymhost_table_add_utf8(&table, version, "probe@1");
    return kymhost_table_finish(&table, array, schema, out);
}

static int second_read_old_marker(kymhost_text payload, kymhost_out *out) {
    kymhost_text value;
    double n_events;
    char marker[256];
    if (!kymhost_json_member(payload, "n_events", &value) || !kymhost_json_number(value, &n_events)) {
        return KYMHOST_ABSENT;
    }
    if (n_events == 13) return kymhost_error(out, KYMHOST_PANICKED, "unlucky");
    snprintf(marker, sizeof marker,
             "{\"marker_version\": \"1\", \"indexer_name\": \"abi_second\", \"params_hash\": \"old hash\", "
             "\"analysis_version\": \"old version\", \"n_rows\": %.0f, \"ran_utc_epoch_ns\": 1, \"status\": \"ok\"}",
             n_events);
    return kymhost_out_text(out, marker);
}

#define PROBE                                                                                                   \
    KYMHOST_INDEXER("abi_probe", "probe@1", "abi_probe_run", KYMHOST_NAMES2("probe/params", "probe.params"),    \
                    probe_params, NULL, probe_extract_rows, NULL)
#define SECOND                                                                                         \
    KYMHOST_INDEXER("abi_second", "second 'quoted' @\xc3\xa4", "second/summary", KYMHOST_NO_NAMES,     \
                    second_params, second_params_hash, second_extract_rows, second_read_old_marker)

KYMHOST_PLUGIN2(PROBE, SECOND);

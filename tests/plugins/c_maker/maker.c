/* A test fixture: an indexer in C that hands the host one artifact of each kind, and tries artifacts that the host must
 * refuse.
 *
 * It has one row per try, with the status and the text of the error. */
#define KYMHOST_NEEDS_API "1.1"
#include "kymhost_plugin.h"
#include "kymhost_table.h"

static int params(const kymhost_record *record, kymhost_out *out) {
    (void)record;
    return kymhost_out_text(out, "null");
}

static kymhost_table to;
static int tried, status_of, text_of;

static void add_try(const char *what, int status, kymhost_text error) {
    kymhost_table_add_utf8(&to, tried, what);
    kymhost_table_add_int64(&to, status_of, status);
    kymhost_table_add_utf8(&to, text_of, status == KYMHOST_OK ? "" : error.data);
}

static int put_table(const kymhost_run *run, const char *name, kymhost_text *error) {
    kymhost_table of = KYMHOST_TABLE;
    struct ArrowArray array;
    struct ArrowSchema schema;
    int column = kymhost_table_column(&of, "value", KYMHOST_INT64);
    int status;
    kymhost_table_add_int64(&of, column, 7);
    status = kymhost_table_finish(&of, &array, &schema, NULL);
    if (status != KYMHOST_OK) return status;
    status = kymhost_run_put_table(run, name, &array, &schema, error);
    if (status == KYMHOST_UNSUPPORTED) {
        /* An older host did not take them. */
        kymhost_table_release(&array, &schema);
        return status;
    }
    /* The host owns them from then on, whatever the status. */
    if (array.release != NULL || schema.release != NULL) return 1000;
    return status;
}

static int extract_rows(const kymhost_record *record, const kymhost_run *run, struct ArrowArray *array,
                        struct ArrowSchema *schema, kymhost_out *out) {
    static const float elements[6] = {0, 1, 2, 3, 4, 5};
    static const uint64_t shape[2] = {2, 3};
    static const char *const axes[2] = {"t", "x"};
    kymhost_array made = {sizeof(kymhost_array), KYMHOST_DTYPE_FLOAT32, 2, shape, axes, elements, sizeof elements};
    kymhost_text error = {"", 0};
    (void)record;
    to = (kymhost_table)KYMHOST_TABLE;
    tried = kymhost_table_column(&to, "tried", KYMHOST_UTF8);
    status_of = kymhost_table_column(&to, "status", KYMHOST_INT64);
    text_of = kymhost_table_column(&to, "said", KYMHOST_UTF8);
    add_try("json", kymhost_run_put_json(run, "c_maker/json", "{\"x\": NaN}", 10, &error), error);
    add_try("json twice", kymhost_run_put_json(run, "c_maker/json", "1", 1, &error), error);
    add_try("no json", kymhost_run_put_json(run, "c_maker/other", "{", 1, &error), error);
    add_try("undeclared", kymhost_run_put_json(run, "c_maker/table", "1", 1, &error), error);
    add_try("null name", kymhost_run_put_json(run, NULL, "1", 1, &error), error);
    add_try("null json", kymhost_run_put_json(run, "c_maker/other", NULL, 1, &error), error);
    add_try("table", put_table(run, "c_maker/table", &error), error);
    add_try("table twice", put_table(run, "c_maker/table", &error), error);
    add_try("array", kymhost_run_put_array(run, "c_maker/array", &made, &error), error);
    made.n_bytes = 5;
    add_try("short array", kymhost_run_put_array(run, "c_maker/array", &made, &error), error);
    made.n_bytes = sizeof elements;
    made.dtype = 99;
    add_try("no dtype", kymhost_run_put_array(run, "c_maker/array", &made, &error), error);
    made.struct_size = 8;
    add_try("small array", kymhost_run_put_array(run, "c_maker/array", &made, &error), error);
    add_try("null array", kymhost_run_put_array(run, "c_maker/array", NULL, &error), error);
    add_try("null error", kymhost_run_put_json(run, "c_maker/other", "{", 1, NULL), error);
    return kymhost_table_finish(&to, array, schema, out);
}

#define MAKER                                                                                             \
    KYMHOST_MAKER("c_maker", "tests.c_maker@1", "c_maker_run", KYMHOST_NAMES("c_maker/params"), params,   \
                  NULL, extract_rows, NULL,                                                               \
                  "[" KYMHOST_WRITE("c_maker/json", "json") "," KYMHOST_WRITE("c_maker/other", "json")     \
                  "," KYMHOST_WRITE("c_maker/table", "table") "," KYMHOST_WRITE("c_maker/array", "array") "]", \
                  KYMHOST_NAMES("maker/table"), "{\"type\":\"object\"}")
KYMHOST_PLUGIN(MAKER);

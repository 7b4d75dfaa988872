/* A plugin of a later API, which calls functions of record and run that today's hosts do not have. It is built with a
 * copy of the header to which these members are appended. */
#include "kymhost_plugin.h"
#include "kymhost_table.h"

/* What the later header would define for them. */
static inline int kymhost_record_later(const kymhost_record *record, const char *name, kymhost_text *error) {
    if (!KYMHOST_CAN(record, later)) return KYMHOST_UNSUPPORTED_("kymhost_record_later", error);
    return record->later(record, name, error);
}
static inline int kymhost_run_later(const kymhost_run *run, kymhost_text *error) {
    if (!KYMHOST_CAN(run, later)) return KYMHOST_UNSUPPORTED_("kymhost_run_later", error);
    return run->later(run, error);
}

static int params(const kymhost_record *record, kymhost_out *out) {
    (void)record;
    return kymhost_out_text(out, "null");
}

static int extract_rows(const kymhost_record *record, const kymhost_run *run, struct ArrowArray *array,
                        struct ArrowSchema *schema, kymhost_out *out) {
    kymhost_table table = KYMHOST_TABLE;
    kymhost_text error;
    int answer = kymhost_table_column(&table, "answer", KYMHOST_UTF8);
    int status = kymhost_record_later(record, "x", &error);
    kymhost_table_add_utf8(&table, answer, status == KYMHOST_UNSUPPORTED ? error.data : "?");
    status = kymhost_run_later(run, &error);
    kymhost_table_add_utf8(&table, answer, status == KYMHOST_UNSUPPORTED ? error.data : "?");
    if (kymhost_record_later(record, "x", NULL) != KYMHOST_UNSUPPORTED) return KYMHOST_FAILED;
    return kymhost_table_finish(&table, array, schema, out);
}

#define LATER KYMHOST_INDEXER("later", "later@1", "later_run", KYMHOST_NO_NAMES, params, NULL, extract_rows, NULL)
KYMHOST_PLUGIN(LATER);

/* Indexers that are wrong in one way each, for `kymhost plugin check`; `-DWRONG_…` says in which. Without any it is
 * correct.
 *
 * It shows what a check finds in C plugins. It is never installed. */
#define _DEFAULT_SOURCE
#include "kymhost_json.h"
#include "kymhost_plugin.h"
#include "kymhost_table.h"

#include <unistd.h>

#define PARAMS_ARTIFACT "wrong/params"

static int read_threshold(const kymhost_record *record, double *threshold, kymhost_out *out) {
    kymhost_text json, value, error;
    int status = kymhost_record_json(record, PARAMS_ARTIFACT, &json, &error);
    *threshold = 0.5;
    if (status < 0) return kymhost_error(out, status, error.data);
    if (status == KYMHOST_OK && kymhost_json_member(json, "threshold", &value) &&
        !kymhost_json_number(value, threshold)) {
        return kymhost_fail(out, KYMHOST_FAILED, "the threshold should be a number");
    }
    return KYMHOST_OK;
}

static int params(const kymhost_record *record, kymhost_out *out) {
    char text[64];
    double threshold;
    int status = read_threshold(record, &threshold, out);
    if (status != KYMHOST_OK) return status;
    if (isinf(threshold) || isnan(threshold)) return kymhost_fail(out, KYMHOST_FAILED, "the threshold should be a number");
#ifdef WRONG_HASH_OF_PROCESS
    snprintf(text, sizeof text, "{\"threshold\": %.17g, \"p\": %ld}", threshold, (long)getpid());
#else
    snprintf(text, sizeof text, "{\"threshold\": %.17g}", threshold);
#endif
    return kymhost_out_text(out, text);
}

static int extract_rows(const kymhost_record *record, const kymhost_run *run, struct ArrowArray *array,
                        struct ArrowSchema *schema, kymhost_out *out) {
    kymhost_table table = KYMHOST_TABLE;
    const kymhost_array *pixels = NULL;
    kymhost_text error;
    double threshold;
    int bytes, above;
    int status = read_threshold(record, &threshold, out);
    if (status != KYMHOST_OK) return status;
    status = kymhost_record_pixels(record, &pixels, &error);
    if (status < 0) return kymhost_error(out, status, error.data);
    (void)run;
#ifdef WRONG_CRASHES_AT_NO_PIXELS
    if (status == KYMHOST_ABSENT) abort();
#endif
#ifdef WRONG_IGNORES_CANCEL
    while (kymhost_run_cancelled(run)) usleep(1000);
#endif
#ifdef WRONG_PANICS
    if (status == KYMHOST_OK && pixels->n_axes > 0 && pixels->shape[0] == 48) {
        return kymhost_fail(out, KYMHOST_PANICKED, "48 lines are too many");
    }
#endif
#ifdef WRONG_LEAKS
    {
        char *volatile kept = malloc(300);
        if (kept != NULL) memset(kept, 1, 300);
    }
#endif
#ifdef WRONG_PRINTS
    printf("extracting\n");
#endif
#ifdef WRONG_WRITES
    {
        FILE *file = fopen(WRONG_WRITES, "a");
        if (file != NULL) {
            fputs("extracted\n", file);
            fclose(file);
        }
    }
#endif
    bytes = kymhost_table_column(&table, "bytes", KYMHOST_INT64);
    above = kymhost_table_column(&table, "threshold", KYMHOST_DOUBLE);
    if (status == KYMHOST_OK && pixels->n_bytes > 0) {
#ifdef WRONG_ROWS_COUNT
        static int64_t calls;
        kymhost_table_add_int64(&table, bytes, calls++);
#else
        kymhost_table_add_int64(&table, bytes, (int64_t)pixels->n_bytes);
#endif
#ifdef WRONG_RAGGED
        (void)above;
#else
        kymhost_table_add_double(&table, above, threshold);
#endif
    }
    return kymhost_table_finish(&table, array, schema, out);
}

#ifdef WRONG_SCHEMA
#define SCHEMA "{\"type\":\"object\",\"properties\":{\"threshold\":{\"type\":\"number\",\"default\":2}}}"
#else
#define SCHEMA "{\"type\":\"object\",\"properties\":{\"threshold\":{\"type\":\"number\",\"default\":0.5}}}"
#endif
#define WRONG                                                                                                     \
    KYMHOST_MAKER("wrong", "tests.c_wrong@1", "wrong_run", KYMHOST_NAMES(PARAMS_ARTIFACT), params, NULL,          \
                  extract_rows, NULL, KYMHOST_NO_NAMES, KYMHOST_NO_NAMES, SCHEMA)

KYMHOST_PLUGIN(WRONG);

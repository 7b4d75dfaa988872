/* The indexer `intensity_c`: statistics of a kymograph's intensities, one row per image.
 *
 * A complete plugin in plain C, to copy from: no Rust, no Arrow library, no JSON library. It needs three headers of
 * plugin-api/include and a C99 compiler; see the Makefile next to it. kymhost_plugin.h documents the functions that
 * are called here. The comments in this file explain why an indexer looks as it does.
 *
 * It gives one row per image with pixels: line_count, pixel_count, min_intensity, max_intensity, mean_intensity,
 * fraction_above. It writes no files and keeps no state between two calls. */
#include "kymhost_json.h"
#include "kymhost_plugin.h"
#include "kymhost_table.h"

/* The artifact with the params: {"threshold": 40}. An image without it is measured without a threshold. */
#define PARAMS_ARTIFACT "intensity_c/params"

/* How many elements are measured between two checks for cancellation. */
#define ELEMENTS_PER_CHECK ((uint64_t)1 << 20)

/* --- params: everything besides the pixels that the rows depend on --- */

typedef struct params {
    int has_threshold;
    double threshold;
} params;

/* Reads and checks the params. Users write this file by hand. Everything that is wrong with it is an error that says
 * where it is and what was expected; nothing is guessed. */
static int read_params(const kymhost_record *record, params *read, kymhost_out *out) {
    kymhost_text json, value, error;
    int status = kymhost_record_json(record, PARAMS_ARTIFACT, &json, &error);
    read->has_threshold = 0;
    read->threshold = 0.0;
    if (status == KYMHOST_ABSENT) return KYMHOST_OK;
    /* The host's text names the file. */
    if (status < 0) return kymhost_error(out, status, error.data);
    if (!kymhost_json_is_object(json)) {
        return kymhost_fail(out, KYMHOST_FAILED, "%s should be a JSON object such as {\"threshold\": 40}",
                            kymhost_record_key(record, PARAMS_ARTIFACT, KYMHOST_KIND_JSON));
    }
    if (kymhost_json_member(json, "threshold", &value) && !kymhost_json_is_null(value)) {
        if (!kymhost_json_number(value, &read->threshold) || isnan(read->threshold)) {
            return kymhost_fail(out, KYMHOST_FAILED, "the threshold in %s should be a number, found %.*s",
                                kymhost_record_key(record, PARAMS_ARTIFACT, KYMHOST_KIND_JSON),
                                value.length < 40 ? (int)value.length : 40, value.data);
        }
        read->has_threshold = 1;
    }
    return KYMHOST_OK;
}

/* The host hashes what this writes. If the hash differs from that of the last run, the image is analysed again. So it
 * has exactly what the rows depend on, in one form: {"threshold": 4.0} and {"threshold": 4} are the same params. The
 * host also notices that extract_rows reads the file and the pixels: if they change, the image is analysed again too. */
static int intensity_params(const kymhost_record *record, kymhost_out *out) {
    params read;
    char text[64];
    int status = read_params(record, &read, out);
    if (status != KYMHOST_OK) return status;
    if (!read.has_threshold) return kymhost_out_text(out, "{}");
    if (isinf(read.threshold)) {
        /* Infinity is valid in Python's dialect of JSON; C's own "inf" is not. */
        return kymhost_out_text(out, read.threshold > 0 ? "{\"threshold\": Infinity}" : "{\"threshold\": -Infinity}");
    }
    /* 17 digits distinguish every double from every other. */
    snprintf(text, sizeof text, "{\"threshold\": %.17g}", read.threshold);
    return kymhost_out_text(out, text);
}

/* --- the pixels --- */

/* The results so far. NaN pixels count as pixels, but not as values. */
typedef struct intensities {
    uint64_t values;
    uint64_t above;
    double min;
    double max;
    double sum;
} intensities;

/* The element at an index as a double. The bytes are in native order and aligned for their type. */
static double element(const kymhost_array *pixels, uint64_t index) {
    switch (pixels->dtype) {
    case KYMHOST_DTYPE_UINT8: return ((const uint8_t *)pixels->data)[index];
    case KYMHOST_DTYPE_UINT16: return ((const uint16_t *)pixels->data)[index];
    case KYMHOST_DTYPE_INT16: return ((const int16_t *)pixels->data)[index];
    case KYMHOST_DTYPE_FLOAT32: return (double)((const float *)pixels->data)[index];
    default: return ((const double *)pixels->data)[index];
    }
}

/* The size of one element in bytes; 0 for dtypes that this indexer does not measure, e.g. those of a later API. */
static size_t element_bytes(int dtype) {
    switch (dtype) {
    case KYMHOST_DTYPE_UINT8: return 1;
    case KYMHOST_DTYPE_UINT16:
    case KYMHOST_DTYPE_INT16: return 2;
    case KYMHOST_DTYPE_FLOAT32: return 4;
    case KYMHOST_DTYPE_FLOAT64: return 8;
    default: return 0;
    }
}

static int measure(const kymhost_array *pixels, uint64_t count, const params *with, const kymhost_run *run,
                   intensities *found) {
    uint64_t i;
    memset(found, 0, sizeof *found);
    found->min = INFINITY;
    found->max = -INFINITY;
    for (i = 0; i < count; i++) {
        double value = element(pixels, i);
        /* Long loops should ask now and then, so that a cancelled run stops soon. */
        if (i % ELEMENTS_PER_CHECK == 0) {
            if (kymhost_run_cancelled(run)) return KYMHOST_CANCELLED;
            kymhost_run_progress(run, (double)i / (double)count);
        }
        if (isnan(value)) continue;
        found->values++;
        found->sum += value;
        if (value < found->min) found->min = value;
        if (value > found->max) found->max = value;
        if (value > with->threshold) found->above++;
    }
    return KYMHOST_OK;
}

/* --- the rows --- */

/* A number that may be missing. */
static void add_double(kymhost_table *table, int column, int is_there, double value) {
    if (is_there) {
        kymhost_table_add_double(table, column, value);
    } else {
        kymhost_table_add_missing(table, column);
    }
}

static int intensity_extract_rows(const kymhost_record *record, const kymhost_run *run, struct ArrowArray *array,
                                  struct ArrowSchema *schema, kymhost_out *out) {
    kymhost_table table = KYMHOST_TABLE;
    const kymhost_array *pixels = NULL;
    kymhost_text error;
    intensities found;
    params with;
    uint64_t count = 0, lines = 0;
    int line_count, pixel_count, min, max, mean, above;
    int status = read_params(record, &with, out);
    if (status != KYMHOST_OK) return status;
    status = kymhost_record_pixels(record, &pixels, &error);
    if (status < 0) return kymhost_error(out, status, error.data);
    if (status == KYMHOST_OK) {
        size_t bytes = element_bytes(pixels->dtype);
        if (bytes == 0) {
            return kymhost_fail(out, KYMHOST_FAILED,
                                "the pixels are of dtype number %d; this indexer measures uint8, uint16, int16, "
                                "float32 and float64",
                                pixels->dtype);
        }
        count = pixels->n_bytes / bytes;
        /* In a kymograph the first axis is time: each line is one scan. */
        lines = pixels->n_axes > 0 ? pixels->shape[0] : 0;
        status = measure(pixels, count, &with, run, &found);
        if (status < 0) return kymhost_error(out, status, "stopped while the pixels were measured");
    }

    /* The columns are the same for every image, also for one without rows, so the table has the same columns for any
     * set of images. */
    line_count = kymhost_table_column(&table, "line_count", KYMHOST_INT64);
    pixel_count = kymhost_table_column(&table, "pixel_count", KYMHOST_INT64);
    min = kymhost_table_column(&table, "min_intensity", KYMHOST_DOUBLE);
    max = kymhost_table_column(&table, "max_intensity", KYMHOST_DOUBLE);
    mean = kymhost_table_column(&table, "mean_intensity", KYMHOST_DOUBLE);
    above = kymhost_table_column(&table, "fraction_above", KYMHOST_DOUBLE);
    /* Without pixels there are no rows. That is a result, not an error. */
    if (count > 0) {
        kymhost_table_add_int64(&table, line_count, (int64_t)lines);
        kymhost_table_add_int64(&table, pixel_count, (int64_t)count);
        add_double(&table, min, found.values > 0, found.min);
        add_double(&table, max, found.values > 0, found.max);
        add_double(&table, mean, found.values > 0, found.sum / (double)found.values);
        add_double(&table, above, found.values > 0 && with.has_threshold,
                   (double)found.above / (double)found.values);
    }
    return kymhost_table_finish(&table, array, schema, out);
}

/* --- the library --- */

/* Raise the analysis version whenever the same image and params would give different rows: then all images are stale. */
#define INTENSITY                                                                                              \
    KYMHOST_INDEXER("intensity_c", "kymhost.intensity_c@1", "intensity_c_run", KYMHOST_NAMES(PARAMS_ARTIFACT), \
                    intensity_params, NULL, intensity_extract_rows, NULL)

KYMHOST_PLUGIN(INTENSITY);

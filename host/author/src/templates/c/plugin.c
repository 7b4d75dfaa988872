/* The indexer `{{name}}`: the mean intensity of each part of a recording, one row per part.
 *
 * An indexer is two functions: `params` returns what the rows of an image depend on besides its data, `extract_rows`
 * makes the rows. Both get a record, through which they read one image: the JSON, tables and arrays stored with it, and
 * its pixels. What each function of kymhost promises is in vendor/kymhost/kymhost_plugin.h.
 */
#include "kymhost_json.h"
#include "kymhost_plugin.h"
#include "kymhost_table.h"

#define NAME "{{name}}"
/* Change it whenever the same image and params give other rows: then kymhost makes all rows again. */
#define ANALYSIS_VERSION NAME "@1"
/* The JSON artifact that holds an image's params, such as {"parts": 20}. */
#define PARAMS_ARTIFACT NAME "/params"
/* Used if the params do not say. */
#define DEFAULT_PARTS 10
#define MAX_PARTS 1000000

/* Into how many parts an image's recording is cut. People write params by hand, so invalid params are an error that names
 * the file, never a guess. */
static int read_parts(const kymhost_record *record, uint64_t *parts, kymhost_out *out) {
    kymhost_text json, value, error;
    double number;
    int status = kymhost_record_json(record, PARAMS_ARTIFACT, &json, &error);
    *parts = DEFAULT_PARTS;
    if (status == KYMHOST_ABSENT) return KYMHOST_OK;
    /* The host's own text says which file is broken, and how. */
    if (status < 0) return kymhost_error(out, status, error.data);
    if (!kymhost_json_member(json, "parts", &value)) return KYMHOST_OK;
    if (!kymhost_json_number(value, &number) || !(number >= 1 && number <= MAX_PARTS) ||
        number != (double)(uint64_t)number) {
        return kymhost_fail(out, KYMHOST_FAILED, "'parts' in %s is not a whole number from 1 to %d",
                            kymhost_record_key(record, PARAMS_ARTIFACT, KYMHOST_KIND_JSON), MAX_PARTS);
    }
    *parts = (uint64_t)number;
    return KYMHOST_OK;
}

/* Returns the params as JSON. The host hashes them: an image whose hash has changed since its rows were made is stale. */
static int params(const kymhost_record *record, kymhost_out *out) {
    kymhost_text json, error;
    int status = kymhost_record_json(record, PARAMS_ARTIFACT, &json, &error);
    if (status == KYMHOST_ABSENT) return kymhost_out_text(out, "null");
    if (status < 0) return kymhost_error(out, status, error.data);
    return kymhost_out_write(out, json.data, json.length);
}

/* Bytes of an element; 0 for types that kymographs do not have. */
static size_t element_bytes(int dtype) {
    switch (dtype) {
    case KYMHOST_DTYPE_UINT8: return 1;
    case KYMHOST_DTYPE_UINT16: return 2;
    case KYMHOST_DTYPE_INT16: return 2;
    case KYMHOST_DTYPE_FLOAT32: return 4;
    case KYMHOST_DTYPE_FLOAT64: return 8;
    default: return 0;
    }
}

/* An element as double. */
static double element(const kymhost_array *pixels, uint64_t index) {
    switch (pixels->dtype) {
    case KYMHOST_DTYPE_UINT8: return ((const uint8_t *)pixels->data)[index];
    case KYMHOST_DTYPE_UINT16: return ((const uint16_t *)pixels->data)[index];
    case KYMHOST_DTYPE_INT16: return ((const int16_t *)pixels->data)[index];
    case KYMHOST_DTYPE_FLOAT32: return (double)((const float *)pixels->data)[index];
    default: return ((const double *)pixels->data)[index];
    }
}

/* Makes the rows of one image. The host adds the image's id, the analysis version and the params hash to each. */
static int extract_rows(const kymhost_record *record, const kymhost_run *run, struct ArrowArray *array,
                        struct ArrowSchema *schema, kymhost_out *out) {
    kymhost_table table = KYMHOST_TABLE;
    const kymhost_array *pixels;
    kymhost_text error;
    uint64_t parts, part, first, count = 0;
    int part_column, mean_column;
    int status = read_parts(record, &parts, out);
    if (status != KYMHOST_OK) return status;
    status = kymhost_record_pixels(record, &pixels, &error);
    if (status < 0) return kymhost_error(out, status, error.data);
    if (status == KYMHOST_OK) {
        size_t bytes = element_bytes(pixels->dtype);
        if (bytes == 0) return kymhost_error(out, KYMHOST_FAILED, "the pixels are of a type that is not foreseen");
        count = pixels->n_bytes / bytes;
    }

    /* The same columns for every image. An image without pixels has no rows: that is a result, not an error. */
    part_column = kymhost_table_column(&table, "part", KYMHOST_INT64);
    mean_column = kymhost_table_column(&table, "mean", KYMHOST_DOUBLE);
    for (part = 0, first = 0; first < count; part++) {
        uint64_t index, length = count / parts + (count % parts != 0);
        double sum = 0.0;
        if (length > count - first) length = count - first;
        /* Long loops ask from time to time whether to stop. */
        if (kymhost_run_cancelled(run)) {
            kymhost_table_free(&table);
            return kymhost_error(out, KYMHOST_CANCELLED, "stopped while the pixels were read");
        }
        for (index = first; index < first + length; index++) sum += element(pixels, index);
        kymhost_table_add_int64(&table, part_column, (int64_t)part);
        kymhost_table_add_double(&table, mean_column, sum / (double)length);
        first += length;
    }
    return kymhost_table_finish(&table, array, schema, out);
}

/* The indexer: its name, version, run marker and params artifact, then its functions. The two that are NULL are for
 * plugins that hash their params themselves, or that once wrote run markers in another form. */
#define INDEXER                                                                                              \
    KYMHOST_INDEXER(NAME, ANALYSIS_VERSION, NAME "_run", KYMHOST_NAMES(PARAMS_ARTIFACT), params, NULL, extract_rows, \
                    NULL)

/* The library: what kymhost reads before it loads the library, and the one function that it calls. */
KYMHOST_PLUGIN(INDEXER);

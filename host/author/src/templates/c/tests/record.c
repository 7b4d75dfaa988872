/* Tests of the indexer on made-up records; they need neither a dataset nor kymhost. `make test` runs them.
 *
 * Here the test is the host: it fills in the structs through which an indexer reads and returns.
 */
#include "kymhost_plugin.h"
#include "kymhost_table.h"

#include <stdio.h>

/* What the library exports. */
const kymhost_plugin *kymhost_plugin_c1(void);

static int failures = 0;

#define CHECK(condition)                                                       \
    do {                                                                       \
        if (!(condition)) {                                                    \
            failures++;                                                        \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
        }                                                                      \
    } while (0)

/* --- a made-up image --- */

typedef struct image {
    /* The text of the params artifact; NULL if there is none. */
    const char *params;
    /* NULL if there are none. */
    const kymhost_array *pixels;
} image;

static const char *image_id(const kymhost_record *record) {
    (void)record;
    return "made-up";
}

static int json(const kymhost_record *record, const char *name, kymhost_text *json, kymhost_text *error) {
    const image *made_up = (const image *)record->context;
    (void)error;
    if (strcmp(name, "{{name}}/params") != 0 || made_up->params == NULL) return KYMHOST_ABSENT;
    json->data = made_up->params;
    json->length = strlen(made_up->params);
    return KYMHOST_OK;
}

static int pixels(const kymhost_record *record, const kymhost_array **pixels, kymhost_text *error) {
    const image *made_up = (const image *)record->context;
    (void)error;
    if (made_up->pixels == NULL) return KYMHOST_ABSENT;
    *pixels = made_up->pixels;
    return KYMHOST_OK;
}

static const char *key(const kymhost_record *record, const char *name, int kind) {
    (void)record;
    (void)kind;
    return name;
}

/* Members that are left out are NULL: kymhost's own functions take that for a host that lacks them. */
static kymhost_record record_of(const image *made_up) {
    kymhost_record record;
    memset(&record, 0, sizeof record);
    record.struct_size = sizeof record;
    record.context = (void *)made_up;
    record.image_id = image_id;
    record.json = json;
    record.pixels = pixels;
    record.key = key;
    return record;
}

/* --- what the indexer returns --- */

typedef struct given {
    char text[256];
    char error[256];
} given;

static int write_text(kymhost_out *out, const void *bytes, size_t length) {
    given *gives = (given *)out->context;
    size_t before = strlen(gives->text);
    if (length >= sizeof gives->text - before) return KYMHOST_FAILED;
    memcpy(gives->text + before, bytes, length);
    gives->text[before + length] = 0;
    return KYMHOST_OK;
}

static void write_error(kymhost_out *out, const char *text) {
    given *gives = (given *)out->context;
    snprintf(gives->error, sizeof gives->error, "%s", text);
}

static kymhost_out out_of(given *gives) {
    kymhost_out out;
    memset(gives, 0, sizeof *gives);
    memset(&out, 0, sizeof out);
    out.struct_size = sizeof out;
    out.context = gives;
    out.write = write_text;
    out.error = write_error;
    return out;
}

/* --- the tests --- */

static const kymhost_indexer *indexer;

/* Extracts an image's rows into `means`; returns how many there are, or an error's status. */
static int64_t extract(const image *made_up, double *means, int64_t room, given *gives) {
    struct ArrowArray array;
    struct ArrowSchema schema;
    kymhost_record record = record_of(made_up);
    kymhost_run run;
    kymhost_out out = out_of(gives);
    kymhost_cells part, mean;
    int64_t row, rows, number;
    int status;
    memset(&array, 0, sizeof array);
    memset(&schema, 0, sizeof schema);
    memset(&run, 0, sizeof run);
    run.struct_size = sizeof run;
    status = indexer->extract_rows(&record, &run, &array, &schema, &out);
    if (status != KYMHOST_OK) return status;
    rows = kymhost_table_rows(&array);
    CHECK(kymhost_cells_of(&array, &schema, "part", &part));
    CHECK(kymhost_cells_of(&array, &schema, "mean", &mean));
    for (row = 0; row < rows && row < room; row++) {
        CHECK(kymhost_cell_int64(&part, row, &number) && number == row);
        CHECK(kymhost_cell_double(&mean, row, &means[row]));
    }
    kymhost_table_release(&array, &schema);
    return rows;
}

/* Four lines of three pixels. */
static const uint16_t elements[12] = {1, 1, 1, 3, 3, 3, 5, 5, 5, 7, 7, 7};
static const uint64_t shape[2] = {4, 3};
static const char *const axes[2] = {"y", "x"};
static const kymhost_array four_lines = {
    sizeof(kymhost_array), KYMHOST_DTYPE_UINT16, 2, shape, axes, elements, sizeof elements};

static void each_part_has_its_mean(void) {
    image made_up = {"{\"parts\": 2}", &four_lines};
    double means[2] = {0.0, 0.0};
    given gives;
    CHECK(extract(&made_up, means, 2, &gives) == 2);
    CHECK(means[0] == 2.0 && means[1] == 6.0);
}

static void params_have_a_default_and_are_checked(void) {
    static const char *const bad[] = {"{\"parts\": 0}", "{\"parts\": 1.5}", "{\"parts\": \"two\"}", "{\"parts\": null}"};
    image made_up = {NULL, &four_lines};
    double means[12];
    size_t i;
    given gives;
    /* Ten parts of twelve pixels: two each. */
    CHECK(extract(&made_up, means, 12, &gives) == 6);
    made_up.params = "{}";
    CHECK(extract(&made_up, means, 12, &gives) == 6);
    for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        made_up.params = bad[i];
        CHECK(extract(&made_up, means, 12, &gives) == KYMHOST_FAILED);
        CHECK(strstr(gives.error, "'parts'") != NULL);
    }
}

static void params_are_those_of_the_image(void) {
    image made_up = {"{\"parts\": 20}", &four_lines};
    kymhost_record record = record_of(&made_up);
    given gives;
    kymhost_out out = out_of(&gives);
    CHECK(indexer->params(&record, &out) == KYMHOST_OK);
    CHECK(strcmp(gives.text, "{\"parts\": 20}") == 0);
    made_up.params = NULL;
    out = out_of(&gives);
    CHECK(indexer->params(&record, &out) == KYMHOST_OK);
    CHECK(strcmp(gives.text, "null") == 0);
}

static void an_image_without_pixels_has_no_rows(void) {
    image made_up = {NULL, NULL};
    given gives;
    CHECK(extract(&made_up, NULL, 0, &gives) == 0);
}

int main(void) {
    const kymhost_plugin *plugin = kymhost_plugin_c1();
    indexer = plugin->indexers[0];
    CHECK(plugin->n_indexers == 1 && strcmp(indexer->name, "{{name}}") == 0);
    each_part_has_its_mean();
    params_have_a_default_and_are_checked();
    params_are_those_of_the_image();
    an_image_without_pixels_has_no_rows();
    if (failures > 0) {
        fprintf(stderr, "%d checks failed\n", failures);
        return 1;
    }
    printf("all tests passed\n");
    return 0;
}

/* A host of plugin API 1.0 for the C door, against the frozen header alone: `c_host LIBRARY INDEXER WHAT` does one extraction of a
 * made-up record and prints what came of it. WHAT is what the artifact `probe/params` says under `do`.
 *
 * Owns: what a kymhost that nobody has upgraded does with a plugin of today. Never: changes. */
#include "kymhost_plugin.h"
#include "kymhost_table.h"

#include <dlfcn.h>

static const char *what;
static char params_json[128];

static int give(kymhost_text *place, const char *text) {
    place->data = text;
    place->length = strlen(text);
    return KYMHOST_OK;
}

static const char *image_id(const kymhost_record *record) {
    (void)record;
    return "museum-image";
}
static int json(const kymhost_record *record, const char *name, kymhost_text *place, kymhost_text *error) {
    (void)record;
    (void)error;
    snprintf(params_json, sizeof params_json, "{\"do\": \"%s\"}", what);
    if (strcmp(name, "probe/params") == 0) return give(place, params_json);
    if (strcmp(name, "intensity_c/params") == 0) return give(place, "{\"threshold\": 3}");
    return KYMHOST_ABSENT;
}
static int table(const kymhost_record *record, const char *name, int kind, struct ArrowArray *array,
                 struct ArrowSchema *schema, kymhost_text *error) {
    (void)record, (void)name, (void)kind, (void)array, (void)schema, (void)error;
    return KYMHOST_ABSENT;
}
static int pixels(const kymhost_record *record, const kymhost_array **place, kymhost_text *error) {
    static const uint64_t shape[] = {2, 3};
    static const char *const axes[] = {"y", "x"};
    static const unsigned char bytes[] = {1, 2, 3, 4, 5, 6};
    static const kymhost_array array = {sizeof array, KYMHOST_DTYPE_UINT8, 2, shape, axes, bytes, 6};
    (void)record, (void)error;
    *place = &array;
    return KYMHOST_OK;
}
static int no_array(const kymhost_record *record, const char *name, const kymhost_array **place, kymhost_text *error) {
    (void)record, (void)name, (void)place, (void)error;
    return KYMHOST_ABSENT;
}
static const char *key(const kymhost_record *record, const char *name, int kind) {
    (void)record, (void)kind;
    return name;
}
static int attributes(const kymhost_record *record, kymhost_text *place, kymhost_text *error) {
    (void)record, (void)error;
    return give(place, "{}");
}
static int artifacts(const kymhost_record *record, const kymhost_artifacts **place, kymhost_text *error) {
    static const kymhost_artifacts none = {sizeof none, 0, NULL, NULL};
    (void)record, (void)error;
    *place = &none;
    return KYMHOST_OK;
}
static int cancelled(const kymhost_run *run) {
    (void)run;
    return 0;
}
static uint32_t threads(const kymhost_run *run) {
    (void)run;
    return 1;
}
static void log_line(const kymhost_run *run, int level, const char *message) { (void)run, (void)level, (void)message; }
static void progress(const kymhost_run *run, double fraction) { (void)run, (void)fraction; }

static char given[4096];
static size_t n_given;
static char problem[4096];

static int write_bytes(kymhost_out *out, const void *bytes, size_t length) {
    (void)out;
    if (length > sizeof given - n_given - 1) return KYMHOST_FAILED;
    memcpy(given + n_given, bytes, length);
    n_given += length;
    given[n_given] = 0;
    return KYMHOST_OK;
}
static void set_error(kymhost_out *out, const char *text) {
    (void)out;
    snprintf(problem, sizeof problem, "%s", text);
}

int main(int count, char **words) {
    /* A host of today has longer structs: right behind these there is nothing that a plugin may read. */
    kymhost_record record = {sizeof record, NULL, image_id, json, table, pixels, no_array, key, attributes, artifacts};
    kymhost_run run = {sizeof run, NULL, cancelled, threads, log_line, progress};
    kymhost_out out = {sizeof out, NULL, write_bytes, set_error};
    const kymhost_plugin *(*entry)(void);
    const kymhost_plugin *plugin;
    const kymhost_indexer *indexer = NULL;
    struct ArrowArray array;
    struct ArrowSchema schema;
    void *library, *symbol;
    size_t i;
    int64_t column, row;
    int status;
    if (count != 4) return 2;
    what = words[3];
    library = dlopen(words[1], RTLD_NOW);
    symbol = library != NULL ? dlsym(library, "kymhost_plugin_c1") : NULL;
    if (symbol == NULL) return printf("refused: %s\n", dlerror()) > 0;
    memcpy(&entry, &symbol, sizeof entry);
    plugin = entry();
    if (plugin->struct_size < sizeof *plugin || plugin->api_major != KYMHOST_API_MAJOR) return puts("refused") > 0;
    for (i = 0; i < plugin->n_indexers; i++) {
        if (strcmp(plugin->indexers[i]->name, words[2]) == 0) indexer = plugin->indexers[i];
    }
    if (indexer == NULL || indexer->struct_size < sizeof *indexer) return puts("refused: no such indexer") > 0;
    status = indexer->params(&record, &out);
    printf("params: %d %s\n", status, given);
    memset(&array, 0, sizeof array);
    memset(&schema, 0, sizeof schema);
    status = indexer->extract_rows(&record, &run, &array, &schema, &out);
    if (status != KYMHOST_OK) return printf("error: %d %s\n", status, problem) < 0;
    printf("rows: %lld\n", (long long)array.length);
    for (column = 0; column < schema.n_children; column++) {
        kymhost_cells cells;
        const char *name = schema.children[column]->name;
        if (!kymhost_cells_of(&array, &schema, name, &cells)) return 1;
        printf("%s:", name);
        for (row = 0; row < array.length; row++) {
            double number;
            kymhost_text text;
            if (kymhost_cell_double(&cells, row, &number)) {
                printf(" | %g", number);
            } else if (kymhost_cell_text(&cells, row, &text)) {
                printf(" | %.*s", (int)text.length, text.data);
            } else {
                printf(" | null");
            }
        }
        printf("\n");
    }
    kymhost_table_release(&array, &schema);
    return 0;
}

/* Plugins that are wrong in one way each; `-DWRONG_…` says in which. Without any it is correct.
 *
 * It is the result of KYMHOST_PLUGIN written out by hand, with one mistake. It is never installed. */
#include "kymhost_plugin.h"
#include "kymhost_table.h"

static int params(const kymhost_record *record, kymhost_out *out) {
    (void)record;
    return kymhost_out_text(out, "null");
}

static int extract_rows(const kymhost_record *record, const kymhost_run *run, struct ArrowArray *array,
                        struct ArrowSchema *schema, kymhost_out *out) {
    kymhost_table table = KYMHOST_TABLE;
    (void)record;
    (void)run;
    return kymhost_table_finish(&table, array, schema, out);
}

#ifdef WRONG_LONG_NAME
static char long_name[100000];
__attribute__((constructor)) static void fill(void) { memset(long_name, 'a', sizeof long_name); }
#endif

static kymhost_indexer right = {sizeof(kymhost_indexer), "wrong",     "wrong@1", "wrong_run", "[\"wrong/params\"]",
                                params,                  NULL, extract_rows, NULL, NULL,         NULL, NULL};
static const kymhost_indexer *list[2] = {&right, &right};

#ifndef CARD_API
#define CARD_API "1.0"
#endif
#ifndef CARD_DOOR
#define CARD_DOOR "c-1"
#endif
#define JSON                                                                                                        \
    "{\"card\":1,\"api\":\"" CARD_API "\",\"needs_api\":\"" CARD_API "\",\"door\":\"" CARD_DOOR                     \
    "\",\"sdk\":\"1.0.0\",\"rustc\":\"cc\",\"target\":\"t\",\"indexers\":[{\"name\":\"wrong\","                     \
    "\"analysis_version\":\"wrong@1\",\"marker\":\"wrong_run\",\"params_artifacts\":[\"wrong/params\"]}]}"
struct block {
    char magic[8];
    unsigned char length[4];
    char json[sizeof(JSON)];
};
KYMHOST_IN_SECTION_ static const struct block card = {
    {'K', 'Y', 'M', 'C', 'A', 'R', 'D', '\n'}, {(sizeof(JSON) - 1) & 255, (sizeof(JSON) - 1) >> 8, 0, 0}, JSON};

static kymhost_plugin plugin = {sizeof(kymhost_plugin), 1, 0, &card, 12 + sizeof(JSON) - 1, list, 1};

#ifdef WRONG_NO_ENTRY
#define kymhost_plugin_c1 another_function
#endif
KYMHOST_EXPORT_ const kymhost_plugin *kymhost_plugin_c1(void);
KYMHOST_EXPORT_ const kymhost_plugin *kymhost_plugin_c1(void) {
#if defined(WRONG_NULL_PLUGIN)
    return NULL;
#elif defined(WRONG_PLUGIN_SIZE_0)
    plugin.struct_size = 0;
#elif defined(WRONG_PLUGIN_SIZE_SMALL)
    plugin.struct_size = sizeof plugin - 1;
#elif defined(WRONG_PLUGIN_SIZE_HUGE)
    plugin.struct_size = SIZE_MAX;
#elif defined(WRONG_PLUGIN_ADDRESS)
    return (const kymhost_plugin *)(const void *)((const char *)&plugin + 1);
#elif defined(WRONG_PLUGIN_MAJOR)
    plugin.api_major = 2;
#elif defined(WRONG_PLUGIN_MINOR)
    plugin.api_minor = 9;
#elif defined(WRONG_NO_CARD)
    plugin.card = NULL;
#elif defined(WRONG_CARD_LENGTH)
    plugin.card_length = SIZE_MAX;
#elif defined(WRONG_CARD_SHORT)
    plugin.card_length = 3;
#elif defined(WRONG_CARD)
    plugin.card = "KYMCARD\n\002\0\0\0{}";
    plugin.card_length = 14;
#elif defined(WRONG_NO_LIST)
    plugin.indexers = NULL;
#elif defined(WRONG_LIST_LENGTH)
    plugin.n_indexers = SIZE_MAX;
#elif defined(WRONG_EMPTY_LIST)
    plugin.n_indexers = 0;
#elif defined(WRONG_NULL_INDEXER)
    list[0] = NULL;
#elif defined(WRONG_INDEXER_SIZE_0)
    right.struct_size = 0;
#elif defined(WRONG_INDEXER_ADDRESS)
    list[0] = (const kymhost_indexer *)(const void *)((const char *)&right + 4);
#elif defined(WRONG_NO_NAME)
    right.name = NULL;
#elif defined(WRONG_LONG_NAME)
    right.name = long_name;
#elif defined(WRONG_NAME_BYTES)
    right.name = "wr\xf6ng";
#elif defined(WRONG_OTHER_NAME)
    right.name = "other";
#elif defined(WRONG_VERSION)
    right.analysis_version = "wrong@2";
#elif defined(WRONG_NO_VERSION)
    right.analysis_version = NULL;
#elif defined(WRONG_MARKER)
    right.marker_name = "other_run";
#elif defined(WRONG_NO_MARKER)
    right.marker_name = NULL;
#elif defined(WRONG_ARTIFACTS)
    right.params_artifacts = "[]";
#elif defined(WRONG_ARTIFACTS_JSON)
    right.params_artifacts = "wrong/params";
#elif defined(WRONG_NO_ARTIFACTS)
    right.params_artifacts = NULL;
#elif defined(WRONG_TWICE)
    plugin.n_indexers = 2;
#elif defined(WRONG_NO_PARAMS)
    right.params = NULL;
#elif defined(WRONG_NO_EXTRACT_ROWS)
    right.extract_rows = NULL;
#elif defined(WRONG_LATER)
    /* This is not wrong: the structs of a later header are longer. */
    static struct {
        kymhost_indexer indexer;
        void *later[3];
    } longer;
    longer.indexer = right;
    longer.indexer.struct_size = sizeof longer;
    list[0] = &longer.indexer;
#endif
    return &plugin;
}

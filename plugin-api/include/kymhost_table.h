/* Builds tables as Arrow C data, and reads tables of artifacts, without an Arrow library.
 *
 * Everything is a static function in plain C99, usable from C++. To build:
 *
 *     kymhost_table table = KYMHOST_TABLE;
 *     int lines = kymhost_table_column(&table, "line_count", KYMHOST_INT64);
 *     int mean = kymhost_table_column(&table, "mean_intensity", KYMHOST_DOUBLE);
 *     kymhost_table_add_int64(&table, lines, 200);
 *     kymhost_table_add_double(&table, mean, 17.5);
 *     return kymhost_table_finish(&table, array, schema, out);
 *
 * kymhost_table_finish reports the first error of all these calls: no memory, a column that does not exist, a wrong
 * type, columns of different lengths. To read:
 *
 *     kymhost_cells speed;
 *     if (kymhost_cells_of(&array, &schema, "speed_mm_s", &speed) && kymhost_cell_double(&speed, row, &value)) …
 *
 * Threads: only one thread may build a table at a time; any number may read. Ownership: a table belongs to its maker
 * until kymhost_table_finish or kymhost_table_free. A finished one belongs to the holder of array and schema. */
#ifndef KYMHOST_TABLE_H
#define KYMHOST_TABLE_H

#include "kymhost_plugin.h"

#include <stdlib.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The types of columns. Every cell may be missing. */
#define KYMHOST_INT64 'l'
#define KYMHOST_DOUBLE 'g'
#define KYMHOST_BOOL 'b'
#define KYMHOST_UTF8 'u'

/* A buffer that grows. */
typedef struct kymhost_buffer_ {
    unsigned char *data;
    size_t length;
    size_t capacity;
} kymhost_buffer_;

typedef struct kymhost_column_ {
    char *name;
    char type;
    int64_t length;
    int64_t missing;
    /* One bit per cell, set if the cell has a value. */
    kymhost_buffer_ valid;
    /* The cells. For text, the end of each cell as int32_t. */
    kymhost_buffer_ cells;
    /* The text. */
    kymhost_buffer_ text;
} kymhost_column_;

/* A table that is being built. Its members are private. */
typedef struct kymhost_table {
    kymhost_column_ *columns;
    int n_columns;
    /* The first error, or NULL. A constant. */
    const char *problem;
    /* The column of the error, or -1. */
    int problem_column;
} kymhost_table;

/* A table without columns. */
#define KYMHOST_TABLE {NULL, 0, NULL, -1}

static inline void kymhost_table_problem_(kymhost_table *table, const char *problem, int column) {
    if (table->problem == NULL) {
        table->problem = problem;
        table->problem_column = column;
    }
}

/* Room for `bytes` more bytes, zeroed; NULL if there is no memory. */
static inline unsigned char *kymhost_buffer_more_(kymhost_buffer_ *buffer, size_t bytes) {
    unsigned char *at;
    if (buffer->capacity - buffer->length < bytes) {
        size_t capacity = buffer->capacity < 64 ? 64 : buffer->capacity;
        unsigned char *data;
        while (capacity - buffer->length < bytes) {
            if (capacity > SIZE_MAX / 2) return NULL;
            capacity *= 2;
        }
        data = (unsigned char *)realloc(buffer->data, capacity);
        if (data == NULL) return NULL;
        buffer->data = data;
        buffer->capacity = capacity;
    }
    at = buffer->data + buffer->length;
    memset(at, 0, bytes);
    buffer->length += bytes;
    return at;
}

static inline void kymhost_column_free_(kymhost_column_ *column) {
    free(column->name);
    free(column->valid.data);
    free(column->cells.data);
    free(column->text.data);
    memset(column, 0, sizeof *column);
}

/* Frees a table that will not be finished. It does nothing to a finished or empty one. */
static inline void kymhost_table_free(kymhost_table *table) {
    int i;
    for (i = 0; i < table->n_columns; i++) kymhost_column_free_(&table->columns[i]);
    free(table->columns);
    table->columns = NULL;
    table->n_columns = 0;
}

/* Adds a column and returns its number. The name is copied. */
static inline int kymhost_table_column(kymhost_table *table, const char *name, char type) {
    int number = table->n_columns;
    size_t length = strlen(name);
    kymhost_column_ *columns =
        (kymhost_column_ *)realloc(table->columns, ((size_t)number + 1) * sizeof *table->columns);
    if (columns == NULL) {
        kymhost_table_problem_(table, "there is no memory for another column", -1);
        return number;
    }
    table->columns = columns;
    memset(&columns[number], 0, sizeof columns[number]);
    table->n_columns = number + 1;
    columns[number].type = type;
    columns[number].name = (char *)malloc(length + 1);
    if (columns[number].name == NULL) {
        kymhost_table_problem_(table, "there is no memory for a column's name", -1);
        return number;
    }
    memcpy(columns[number].name, name, length + 1);
    if (type != KYMHOST_INT64 && type != KYMHOST_DOUBLE && type != KYMHOST_BOOL && type != KYMHOST_UTF8) {
        kymhost_table_problem_(table, "has a type that kymhost_table.h does not build", number);
    } else if (type == KYMHOST_UTF8 && kymhost_buffer_more_(&columns[number].cells, sizeof(int32_t)) == NULL) {
        /* The ends of text cells begin with the start of the first cell. */
        kymhost_table_problem_(table, "has no memory for another cell", number);
    }
    return number;
}

/* The next cell of a column: its validity bit is set, its bytes are zero. `type` 0 is any. NULL if there can be none. */
static inline kymhost_column_ *kymhost_table_cell_(kymhost_table *table, int number, char type, int is_there,
                                                   unsigned char **cell) {
    kymhost_column_ *column;
    size_t bytes;
    if (table->problem != NULL) return NULL;
    if (number < 0 || number >= table->n_columns) {
        kymhost_table_problem_(table, "a cell was added to a column that does not exist", -1);
        return NULL;
    }
    column = &table->columns[number];
    if (type != 0 && type != column->type) {
        kymhost_table_problem_(table, "got a cell of another type", number);
        return NULL;
    }
    bytes = column->type == KYMHOST_UTF8 ? sizeof(int32_t) : 8;
    if (column->type == KYMHOST_BOOL) bytes = column->length % 8 == 0 ? 1 : 0;
    if (column->length % 8 == 0 && kymhost_buffer_more_(&column->valid, 1) == NULL) {
        kymhost_table_problem_(table, "has no memory for another cell", number);
        return NULL;
    }
    if (bytes > 0 && kymhost_buffer_more_(&column->cells, bytes) == NULL) {
        kymhost_table_problem_(table, "has no memory for another cell", number);
        return NULL;
    }
    *cell = column->type == KYMHOST_BOOL ? column->cells.data + column->length / 8
                                         : column->cells.data + column->cells.length - bytes;
    if (is_there) {
        column->valid.data[column->length / 8] |= (unsigned char)(1u << (column->length % 8));
    } else {
        column->missing++;
    }
    if (column->type == KYMHOST_UTF8) {
        int32_t end = (int32_t)column->text.length;
        memcpy(*cell, &end, sizeof end);
    }
    column->length++;
    return column;
}

/* Adds a cell without a value to a column of any type. */
static inline void kymhost_table_add_missing(kymhost_table *table, int column) {
    unsigned char *cell;
    (void)kymhost_table_cell_(table, column, 0, 0, &cell);
}

static inline void kymhost_table_add_int64(kymhost_table *table, int column, int64_t value) {
    unsigned char *cell;
    if (kymhost_table_cell_(table, column, KYMHOST_INT64, 1, &cell) != NULL) memcpy(cell, &value, sizeof value);
}

/* NaN is a value, not a missing one. */
static inline void kymhost_table_add_double(kymhost_table *table, int column, double value) {
    unsigned char *cell;
    if (kymhost_table_cell_(table, column, KYMHOST_DOUBLE, 1, &cell) != NULL) memcpy(cell, &value, sizeof value);
}

static inline void kymhost_table_add_bool(kymhost_table *table, int column, int value) {
    unsigned char *cell;
    kymhost_column_ *made = kymhost_table_cell_(table, column, KYMHOST_BOOL, 1, &cell);
    if (made != NULL && value) *cell |= (unsigned char)(1u << ((made->length - 1) % 8));
}

/* UTF-8 of this length in bytes; copied. NULL is a missing value. */
static inline void kymhost_table_add_text(kymhost_table *table, int column, const char *text, size_t length) {
    unsigned char *cell;
    kymhost_column_ *made = kymhost_table_cell_(table, column, KYMHOST_UTF8, text != NULL, &cell);
    unsigned char *place;
    int32_t end;
    if (made == NULL || text == NULL || length == 0) return;
    if (length > (size_t)INT32_MAX - made->text.length) {
        kymhost_table_problem_(table, "has more than 2 GiB of text", column);
        return;
    }
    place = kymhost_buffer_more_(&made->text, length);
    if (place == NULL) {
        kymhost_table_problem_(table, "has no memory for another cell", column);
        return;
    }
    memcpy(place, text, length);
    end = (int32_t)made->text.length;
    memcpy(cell, &end, sizeof end);
}

/* Zero-terminated UTF-8; copied. NULL is a missing value. */
static inline void kymhost_table_add_utf8(kymhost_table *table, int column, const char *text) {
    kymhost_table_add_text(table, column, text, text == NULL ? 0 : strlen(text));
}

/* The memory of a finished column or table. */
typedef struct kymhost_held_ {
    kymhost_column_ column;
    const void *buffers[3];
    struct ArrowArray *arrays;
    struct ArrowArray **array_list;
    struct ArrowSchema *schemas;
    struct ArrowSchema **schema_list;
    char format[2];
} kymhost_held_;

static void kymhost_release_array_(struct ArrowArray *array) {
    kymhost_held_ *held = (kymhost_held_ *)array->private_data;
    int64_t i;
    for (i = 0; i < array->n_children; i++) {
        /* The consumer may have taken a child away. */
        struct ArrowArray *child = array->children[i];
        if (child != NULL && child->release != NULL) child->release(child);
    }
    if (held != NULL) {
        kymhost_column_free_(&held->column);
        free(held->arrays);
        free(held->array_list);
        free(held);
    }
    array->release = NULL;
}

static void kymhost_release_schema_(struct ArrowSchema *schema) {
    kymhost_held_ *held = (kymhost_held_ *)schema->private_data;
    int64_t i;
    for (i = 0; i < schema->n_children; i++) {
        struct ArrowSchema *child = schema->children[i];
        if (child != NULL && child->release != NULL) child->release(child);
    }
    if (held != NULL) {
        free(held->column.name);
        free(held->schemas);
        free(held->schema_list);
        free(held);
    }
    schema->release = NULL;
}

/* Ends a table with an error: all of it is freed and nothing is given. */
static inline int kymhost_table_give_up_(kymhost_table *table, kymhost_out *out, int status, const char *problem,
                                         int column) {
    const char *name = column >= 0 && column < table->n_columns ? table->columns[column].name : NULL;
    if (name != NULL) {
        (void)kymhost_fail(out, status, "column '%s' %s", name, problem);
    } else {
        (void)kymhost_fail(out, status, "%s", problem);
    }
    kymhost_table_free(table);
    return status;
}

/* Moves the columns into `array` and `schema`, which the caller then owns (an indexer gives them to the host). The
 * table is empty afterwards, whatever the status. Returns KYMHOST_OK, or sets the error's text in `out` and returns
 * KYMHOST_BAD_TABLE; then nothing is filled. */
static inline int kymhost_table_finish(kymhost_table *table, struct ArrowArray *array, struct ArrowSchema *schema,
                                       kymhost_out *out) {
    static const char no_memory[] = "there is no memory for the table";
    /* A target for pointers to empty buffers, which should not be NULL. */
    static const int64_t nothing[1] = {0};
    int n = table->n_columns;
    size_t count = (size_t)n;
    kymhost_held_ *held = NULL, *held_types = NULL;
    int64_t rows = n > 0 ? table->columns[0].length : 0;
    int i;
    for (i = 0; i < n; i++) {
        if (table->columns[i].length != rows) {
            kymhost_table_problem_(table, "has another number of cells than the first column", i);
        }
    }
    if (table->problem != NULL) {
        return kymhost_table_give_up_(table, out, KYMHOST_BAD_TABLE, table->problem, table->problem_column);
    }
    held = (kymhost_held_ *)calloc(1, sizeof *held);
    held_types = (kymhost_held_ *)calloc(1, sizeof *held_types);
    if (held != NULL && held_types != NULL && n > 0) {
        held->arrays = (struct ArrowArray *)calloc(count, sizeof *held->arrays);
        held->array_list = (struct ArrowArray **)calloc(count, sizeof *held->array_list);
        held_types->schemas = (struct ArrowSchema *)calloc(count, sizeof *held_types->schemas);
        held_types->schema_list = (struct ArrowSchema **)calloc(count, sizeof *held_types->schema_list);
    }
    memset(array, 0, sizeof *array);
    memset(schema, 0, sizeof *schema);
    if (held == NULL || held_types == NULL ||
        (n > 0 && (held->arrays == NULL || held->array_list == NULL || held_types->schemas == NULL ||
                   held_types->schema_list == NULL))) {
        if (held != NULL) {
            free(held->arrays);
            free(held->array_list);
            free(held);
        }
        if (held_types != NULL) {
            free(held_types->schemas);
            free(held_types->schema_list);
            free(held_types);
        }
        return kymhost_table_give_up_(table, out, KYMHOST_FAILED, no_memory, -1);
    }
    array->length = rows;
    array->n_buffers = 1;
    array->buffers = held->buffers;
    array->children = held->array_list;
    array->private_data = held;
    array->release = kymhost_release_array_;
    schema->format = "+s";
    schema->name = "";
    schema->children = held_types->schema_list;
    schema->private_data = held_types;
    schema->release = kymhost_release_schema_;
    for (i = 0; i < n; i++) {
        kymhost_column_ *column = &table->columns[i];
        struct ArrowArray *cells = &held->arrays[i];
        struct ArrowSchema *type = &held_types->schemas[i];
        kymhost_held_ *own = (kymhost_held_ *)calloc(1, sizeof *own);
        kymhost_held_ *own_types = (kymhost_held_ *)calloc(1, sizeof *own_types);
        if (own == NULL || own_types == NULL) {
            free(own);
            free(own_types);
            array->release(array);
            schema->release(schema);
            return kymhost_table_give_up_(table, out, KYMHOST_FAILED, no_memory, -1);
        }
        own_types->column.name = column->name;
        own_types->format[0] = column->type;
        column->name = NULL;
        own->column = *column;
        memset(column, 0, sizeof *column);
        column = &own->column;
        own->buffers[0] = column->missing > 0 ? column->valid.data : NULL;
        own->buffers[1] = column->cells.data != NULL ? (const void *)column->cells.data : (const void *)nothing;
        own->buffers[2] = column->text.data != NULL ? (const void *)column->text.data : (const void *)nothing;
        cells->length = rows;
        cells->null_count = column->missing;
        cells->n_buffers = column->type == KYMHOST_UTF8 ? 3 : 2;
        cells->buffers = own->buffers;
        cells->private_data = own;
        cells->release = kymhost_release_array_;
        held->array_list[i] = cells;
        array->n_children = i + 1;
        type->format = own_types->format;
        type->name = own_types->column.name;
        type->flags = ARROW_FLAG_NULLABLE;
        type->private_data = own_types;
        type->release = kymhost_release_schema_;
        held_types->schema_list[i] = type;
        schema->n_children = i + 1;
    }
    kymhost_table_free(table);
    return KYMHOST_OK;
}

/* --- Reading --- */

/* A column of a table, borrowed from it. */
typedef struct kymhost_cells {
    const struct ArrowArray *array;
    /* Arrow's format string of its type. */
    const char *format;
    /* The offset that is added to every row. */
    int64_t offset;
    /* The number of rows. */
    int64_t length;
} kymhost_cells;

/* The number of rows of a table. */
static inline int64_t kymhost_table_rows(const struct ArrowArray *array) {
    return array->length;
}

/* The column `name` of a table: 1, or 0 if there is none. */
static inline int kymhost_cells_of(const struct ArrowArray *array, const struct ArrowSchema *schema, const char *name,
                                   kymhost_cells *cells) {
    int64_t i;
    for (i = 0; i < schema->n_children && i < array->n_children; i++) {
        const char *found = schema->children[i]->name;
        if (found != NULL && strcmp(found, name) == 0) {
            cells->array = array->children[i];
            cells->format = schema->children[i]->format;
            cells->offset = array->offset + array->children[i]->offset;
            cells->length = array->length;
            return 1;
        }
    }
    return 0;
}

/* Whether a cell has a value: 0 for a missing one and beyond the rows. */
static inline int kymhost_cell_is_there(const kymhost_cells *cells, int64_t row) {
    const unsigned char *valid;
    int64_t at = cells->offset + row;
    if (row < 0 || row >= cells->length || strcmp(cells->format, "n") == 0) return 0;
    valid = cells->array->n_buffers > 0 ? (const unsigned char *)cells->array->buffers[0] : NULL;
    return valid == NULL || (valid[at / 8] >> (at % 8) & 1);
}

#define KYMHOST_READ_(type, result)                                          \
    do {                                                                     \
        type element;                                                        \
        memcpy(&element, bytes + (size_t)at * sizeof element, sizeof element); \
        *(value) = (result)element;                                          \
    } while (0)

/* A cell of an integer column of any width: 1, or 0 if it is missing or the column has another type. */
static inline int kymhost_cell_int64(const kymhost_cells *cells, int64_t row, int64_t *value) {
    const unsigned char *bytes;
    int64_t at = cells->offset + row;
    if (!kymhost_cell_is_there(cells, row) || cells->format[0] == 0 || cells->format[1] != 0) return 0;
    if (cells->array->n_buffers < 2) return 0;
    bytes = (const unsigned char *)cells->array->buffers[1];
    switch (cells->format[0]) {
    case 'c': KYMHOST_READ_(int8_t, int64_t); return 1;
    case 'C': KYMHOST_READ_(uint8_t, int64_t); return 1;
    case 's': KYMHOST_READ_(int16_t, int64_t); return 1;
    case 'S': KYMHOST_READ_(uint16_t, int64_t); return 1;
    case 'i': KYMHOST_READ_(int32_t, int64_t); return 1;
    case 'I': KYMHOST_READ_(uint32_t, int64_t); return 1;
    case 'l': KYMHOST_READ_(int64_t, int64_t); return 1;
    case 'L': KYMHOST_READ_(uint64_t, int64_t); return *value >= 0;
    default: return 0;
    }
}

/* A cell of a column of any number type as a double: 1, or 0 if it is missing or the column has another type. */
static inline int kymhost_cell_double(const kymhost_cells *cells, int64_t row, double *value) {
    const unsigned char *bytes;
    int64_t whole;
    int64_t at = cells->offset + row;
    if (!kymhost_cell_is_there(cells, row) || cells->format[0] == 0 || cells->format[1] != 0) return 0;
    if (cells->array->n_buffers < 2) return 0;
    bytes = (const unsigned char *)cells->array->buffers[1];
    switch (cells->format[0]) {
    case 'g': KYMHOST_READ_(double, double); return 1;
    case 'f': KYMHOST_READ_(float, double); return 1;
    case 'L': KYMHOST_READ_(uint64_t, double); return 1;
    default:
        if (!kymhost_cell_int64(cells, row, &whole)) return 0;
        *value = (double)whole;
        return 1;
    }
}

/* A cell of a bool column as 0 or 1: 1, or 0 if it is missing or the column has another type. */
static inline int kymhost_cell_bool(const kymhost_cells *cells, int64_t row, int *value) {
    int64_t at = cells->offset + row;
    if (!kymhost_cell_is_there(cells, row) || strcmp(cells->format, "b") != 0 || cells->array->n_buffers < 2) return 0;
    *value = ((const unsigned char *)cells->array->buffers[1])[at / 8] >> (at % 8) & 1;
    return 1;
}

/* A cell of a text column, borrowed from the table, not zero-terminated: 1, or 0 if it is missing or the column has
 * another type. */
static inline int kymhost_cell_text(const kymhost_cells *cells, int64_t row, kymhost_text *value) {
    int64_t at = cells->offset + row;
    const unsigned char *ends;
    if (!kymhost_cell_is_there(cells, row) || cells->array->n_buffers < 3) return 0;
    ends = (const unsigned char *)cells->array->buffers[1];
    if (strcmp(cells->format, "u") == 0) {
        int32_t range[2];
        memcpy(range, ends + (size_t)at * sizeof range[0], sizeof range);
        value->length = (size_t)(range[1] - range[0]);
        value->data = value->length > 0 ? (const char *)cells->array->buffers[2] + range[0] : "";
        return 1;
    }
    if (strcmp(cells->format, "U") == 0) {
        int64_t range[2];
        memcpy(range, ends + (size_t)at * sizeof range[0], sizeof range);
        value->length = (size_t)(range[1] - range[0]);
        value->data = value->length > 0 ? (const char *)cells->array->buffers[2] + range[0] : "";
        return 1;
    }
    return 0;
}

#undef KYMHOST_READ_

/* Releases a table that kymhost_record_table gave. It does nothing if that has happened already. */
static inline void kymhost_table_release(struct ArrowArray *array, struct ArrowSchema *schema) {
    if (array->release != NULL) array->release(array);
    if (schema->release != NULL) schema->release(schema);
}

#ifdef __cplusplus
}
#endif

#endif /* KYMHOST_TABLE_H */

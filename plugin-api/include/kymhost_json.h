/* Reads JSON documents without a library: enough for params.
 *
 * Everything is a static function in plain C99, usable from C++. Nothing is allocated: every value is a part of the
 * document and lives as long as that. The documents are those of kymhost_record_json, which the host has checked to be
 * JSON. Other text gives no value; it is never read beyond its end. Python's NaN, Infinity and -Infinity are numbers.
 *
 *     kymhost_text value;
 *     double threshold = 0.5;
 *     if (kymhost_json_member(json, "threshold", &value) && !kymhost_json_number(value, &threshold)) … not a number … */
#ifndef KYMHOST_JSON_H
#define KYMHOST_JSON_H

#include "kymhost_plugin.h"

#include <math.h>
#include <stdlib.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How deeply a value may be nested. */
#define KYMHOST_JSON_DEPTH 200

/* The text without the white space around it. */
static inline kymhost_text kymhost_json_trim_(kymhost_text text) {
    while (text.length > 0 && strchr(" \t\r\n", text.data[0]) != NULL && text.data[0] != 0) {
        text.data++;
        text.length--;
    }
    while (text.length > 0 && strchr(" \t\r\n", text.data[text.length - 1]) != NULL &&
           text.data[text.length - 1] != 0) {
        text.length--;
    }
    return text;
}

/* The place after the value that begins at `at`, or 0 if there is no value. */
static inline size_t kymhost_json_end_(kymhost_text text, size_t at) {
    size_t depth = 0;
    int in_string = 0;
    size_t from = at;
    for (; at < text.length; at++) {
        char c = text.data[at];
        if (in_string) {
            if (c == '\\') {
                at++;
            } else if (c == '"') {
                in_string = 0;
                if (depth == 0) return at + 1;
            }
            continue;
        }
        if (c == '"') {
            if (depth == 0 && at != from) return at;
            in_string = 1;
        } else if (c == '{' || c == '[') {
            if (++depth > KYMHOST_JSON_DEPTH) return 0;
        } else if (c == '}' || c == ']') {
            if (depth == 0) return at > from ? at : 0;
            if (--depth == 0) return at + 1;
        } else if (depth == 0 && (c == ',' || c == ':' || c == ' ' || c == '\t' || c == '\r' || c == '\n')) {
            return at > from ? at : 0;
        }
    }
    return depth == 0 && !in_string && at > from && at <= text.length ? at : 0;
}

/* Skips white space. */
static inline size_t kymhost_json_skip_(kymhost_text text, size_t at) {
    while (at < text.length && (text.data[at] == ' ' || text.data[at] == '\t' || text.data[at] == '\r' ||
                                text.data[at] == '\n')) {
        at++;
    }
    return at;
}

/* Whether the value is an object. */
static inline int kymhost_json_is_object(kymhost_text value) {
    value = kymhost_json_trim_(value);
    return value.length >= 2 && value.data[0] == '{' && value.data[value.length - 1] == '}';
}

/* Whether the value is null. */
static inline int kymhost_json_is_null(kymhost_text value) {
    value = kymhost_json_trim_(value);
    return value.length == 4 && memcmp(value.data, "null", 4) == 0;
}

/* The member `name` of an object: 1 and its value, or 0 if it has none or is not an object. Of two members of the same
 * name the last one is used, as in Python. Names that are written with escapes are not found. */
static inline int kymhost_json_member(kymhost_text object, const char *name, kymhost_text *value) {
    size_t at = 1;
    size_t name_length = strlen(name);
    int found = 0;
    object = kymhost_json_trim_(object);
    if (!kymhost_json_is_object(object)) return 0;
    while ((at = kymhost_json_skip_(object, at)) < object.length && object.data[at] == '"') {
        size_t name_at = at + 1;
        size_t end = kymhost_json_end_(object, at);
        size_t value_at, value_end;
        if (end == 0) return 0;
        at = kymhost_json_skip_(object, end);
        if (at >= object.length || object.data[at] != ':') return 0;
        value_at = kymhost_json_skip_(object, at + 1);
        value_end = kymhost_json_end_(object, value_at);
        if (value_end == 0) return 0;
        if (end - 1 - name_at == name_length && memcmp(object.data + name_at, name, name_length) == 0) {
            value->data = object.data + value_at;
            value->length = value_end - value_at;
            found = 1;
        }
        at = kymhost_json_skip_(object, value_end);
        if (at < object.length && object.data[at] == ',') at++;
    }
    return found;
}

/* A number: 1, or 0 if the value is not a number. */
static inline int kymhost_json_number(kymhost_text value, double *number) {
    char digits[64];
    char *end;
    double parsed;
    size_t i;
    value = kymhost_json_trim_(value);
    if (value.length == 3 && memcmp(value.data, "NaN", 3) == 0) {
        *number = NAN;
        return 1;
    }
    if (value.length == 8 && memcmp(value.data, "Infinity", 8) == 0) {
        *number = INFINITY;
        return 1;
    }
    if (value.length == 9 && memcmp(value.data, "-Infinity", 9) == 0) {
        *number = -INFINITY;
        return 1;
    }
    if (value.length == 0 || value.length >= sizeof digits) return 0;
    for (i = 0; i < value.length; i++) {
        char c = value.data[i];
        if (!((c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E')) return 0;
    }
    memcpy(digits, value.data, value.length);
    digits[value.length] = 0;
    parsed = strtod(digits, &end);
    if (*end != 0) return 0;
    *number = parsed;
    return 1;
}

/* true or false: 1, or 0 if the value is neither. */
static inline int kymhost_json_bool(kymhost_text value, int *truth) {
    value = kymhost_json_trim_(value);
    if (value.length == 4 && memcmp(value.data, "true", 4) == 0) {
        *truth = 1;
    } else if (value.length == 5 && memcmp(value.data, "false", 5) == 0) {
        *truth = 0;
    } else {
        return 0;
    }
    return 1;
}

/* A string without escapes, as a part of the document (so not zero-terminated): 1, or 0 if the value is not one. */
static inline int kymhost_json_string(kymhost_text value, kymhost_text *string) {
    value = kymhost_json_trim_(value);
    if (value.length < 2 || value.data[0] != '"' || value.data[value.length - 1] != '"') return 0;
    if (memchr(value.data, '\\', value.length) != NULL) return 0;
    string->data = value.data + 1;
    string->length = value.length - 2;
    return 1;
}

/* Whether the text equals `expected`. */
static inline int kymhost_text_is(kymhost_text text, const char *expected) {
    return text.length == strlen(expected) && memcmp(text.data, expected, text.length) == 0;
}

#ifdef __cplusplus
}
#endif

#endif /* KYMHOST_JSON_H */

/* The operations. They are those of protocol 2, which torch.save has written since there are zip checkpoints, less what
 * makes objects of classes. */
#include "pickle.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "pickle_machine.h"

enum operation {
    MARK = '(',
    STOP = '.',
    BINFLOAT = 'G',
    BININT = 'J',
    BININT1 = 'K',
    BININT2 = 'M',
    NONE = 'N',
    BINPERSID = 'Q',
    REDUCE = 'R',
    SHORT_BINSTRING = 'U',
    BINUNICODE = 'X',
    APPEND = 'a',
    BUILD = 'b',
    GLOBAL = 'c',
    APPENDS = 'e',
    BINGET = 'h',
    INST = 'i',
    LONG_BINGET = 'j',
    BINPUT = 'q',
    LONG_BINPUT = 'r',
    SETITEM = 's',
    TUPLE = 't',
    SETITEMS = 'u',
    EMPTY_TUPLE = ')',
    EMPTY_LIST = ']',
    EMPTY_DICT = '}',
    PROTO = 0x80,
    TUPLE1 = 0x85,
    TUPLE2 = 0x86,
    TUPLE3 = 0x87,
    NEWTRUE = 0x88,
    NEWFALSE = 0x89,
    LONG1 = 0x8A,
    STACK_GLOBAL = 0x93,
};

/* Other operations, for messages. */
static const struct {
    unsigned char code;
    const char *name;
} others[] = {
    {'0', "POP"},
    {'1', "POP_MARK"},
    {'2', "DUP"},
    {'B', "BINBYTES"},
    {'C', "SHORT_BINBYTES"},
    {'F', "FLOAT"},
    {'I', "INT"},
    {'L', "LONG"},
    {'P', "PERSID"},
    {'S', "STRING"},
    {'T', "BINSTRING"},
    {'V', "UNICODE"},
    {'d', "DICT"},
    {'g', "GET"},
    {'l', "LIST"},
    {'o', "OBJ"},
    {'p', "PUT"},
    {0x81, "NEWOBJ"},
    {0x82, "EXT1"},
    {0x83, "EXT2"},
    {0x84, "EXT4"},
    {0x8B, "LONG4"},
    {0x8C, "SHORT_BINUNICODE"},
    {0x8D, "BINUNICODE8"},
    {0x8E, "BINBYTES8"},
    {0x8F, "EMPTY_SET"},
    {0x90, "ADDITEMS"},
    {0x91, "FROZENSET"},
    {0x92, "NEWOBJ_EX"},
    {0x94, "MEMOIZE"},
    {0x95, "FRAME"},
    {0x96, "BYTEARRAY8"},
    {0x97, "NEXT_BUFFER"},
    {0x98, "READONLY_BUFFER"},
};

static quire_status cut_short(struct pickle *p)
{
    return pickle_fail(p, QUIRE_ERR_FORMAT, "it is cut short");
}

/* An unsigned number of n bytes, 4 at most. */
static quire_status number(struct pickle *p, size_t n, uint32_t *out)
{
    const unsigned char *bytes;
    if (!cursor_bytes(&p->code, n, &bytes))
        return cut_short(p);
    *out = 0;
    memcpy(out, bytes, n);
    *out = (uint32_t)taken(*out);
    return QUIRE_OK;
}

static quire_status push_kind(struct pickle *p, enum value_kind kind)
{
    return pickle_push(p, (struct value){.kind = kind});
}

static quire_status push_integer(struct pickle *p, int64_t integer)
{
    return pickle_push(p, (struct value){.kind = VALUE_INT, .integer = integer});
}

static quire_status push_number(struct pickle *p, size_t n)
{
    uint32_t value = 0;
    quire_status status = number(p, n, &value);
    return status == QUIRE_OK ? push_integer(p, n == 4 ? (int32_t)value : (int64_t)value) : status;
}

/* Two's complement, as many bytes as it takes. */
static quire_status push_long(struct pickle *p)
{
    uint32_t n = 0;
    const unsigned char *bytes;
    uint64_t value = 0;
    quire_status status = number(p, 1, &n);
    if (status != QUIRE_OK)
        return status;
    if (!cursor_bytes(&p->code, n, &bytes))
        return cut_short(p);
    if (n > sizeof value)
        return pickle_fail(p, QUIRE_ERR_UNSUPPORTED, "a whole number of %u bytes, expected 8 at most", n);
    memcpy(&value, bytes, n);
    if (n > 0 && n < sizeof value && (bytes[n - 1] & 0x80))
        value |= UINT64_MAX << 8 * n;
    return push_integer(p, (int64_t)value);
}

static quire_status push_float(struct pickle *p)
{
    const unsigned char *bytes;
    return cursor_bytes(&p->code, 8, &bytes) ? push_kind(p, VALUE_FLOAT) : cut_short(p);
}

static quire_status push_string(struct pickle *p, size_t n_length)
{
    uint32_t n = 0;
    const unsigned char *bytes;
    quire_status status = number(p, n_length, &n);
    if (status != QUIRE_OK)
        return status;
    if (!cursor_bytes(&p->code, n, &bytes))
        return pickle_fail(p, QUIRE_ERR_FORMAT, "a string of %u bytes, of which %zu are there", n,
                           cursor_left(&p->code));
    if (n > PICKLE_MAX_STRING)
        return pickle_fail(p, QUIRE_ERR_UNSUPPORTED, "a string of %u bytes, expected %d at most", n, PICKLE_MAX_STRING);
    if (utf8_scan(bytes, n).n_valid != n)
        return pickle_fail(p, QUIRE_ERR_FORMAT, "a string that is not UTF-8");
    return pickle_push(p, (struct value){.kind = VALUE_STRING, .n = n, .text = (const char *)bytes});
}

/* The rest of a line, its newline left out. */
static quire_status line(struct pickle *p, const char **text, size_t *n)
{
    const unsigned char *begin = p->code.data + p->code.at;
    const unsigned char *end = memchr(begin, '\n', size_min(cursor_left(&p->code), 256));
    if (!end)
        return cursor_left(&p->code) < 256 ? cut_short(p)
                                           : pickle_fail(p, QUIRE_ERR_FORMAT, "a name of more than 255 bytes");
    *text = (const char *)begin;
    *n = (size_t)(end - begin);
    p->code.at += *n + 1;
    return QUIRE_OK;
}

static quire_status global(struct pickle *p,
                           quire_status (*take)(struct pickle *, const char *, size_t, const char *, size_t))
{
    const char *module = NULL, *name = NULL;
    size_t n_module = 0, n_name = 0;
    quire_status status = line(p, &module, &n_module);
    if (status == QUIRE_OK)
        status = line(p, &name, &n_name);
    return status == QUIRE_OK ? take(p, module, n_module, name, n_name) : status;
}

/* Refused as an operation of protocol 4, but not without saying what it asks for. */
static quire_status refuse_stack_global(struct pickle *p)
{
    uint32_t name = 0, module = 0;
    quire_status status = pickle_pop(p, &name);
    if (status == QUIRE_OK)
        status = pickle_pop(p, &module);
    if (status != QUIRE_OK)
        return status;
    const struct value *n = &p->values[name], *m = &p->values[module];
    if (n->kind != VALUE_STRING || m->kind != VALUE_STRING)
        return pickle_fail(p, QUIRE_ERR_FORMAT, "a name that is %s in %s", pickle_kind(n), pickle_kind(m));
    return pickle_refuse_name(p, m->text, m->n, n->text, n->n);
}

static quire_status tuple_of(struct pickle *p, size_t n)
{
    uint32_t refs[3];
    for (size_t i = n; i > 0; i--) {
        quire_status status = pickle_pop(p, &refs[i - 1]);
        if (status != QUIRE_OK)
            return status;
    }
    return pickle_push_tuple(p, refs, n);
}

static quire_status tuple_from_mark(struct pickle *p)
{
    const uint32_t *refs = NULL;
    size_t n = 0;
    quire_status status = pickle_pop_mark(p, &refs, &n);
    return status == QUIRE_OK ? pickle_push_tuple(p, refs, n) : status;
}

/* The value on top must be of the kind. */
static quire_status target(struct pickle *p, enum value_kind kind, uint32_t *ref)
{
    quire_status status = pickle_top(p, ref);
    if (status != QUIRE_OK)
        return status;
    const struct value wanted = {.kind = kind};
    if (p->values[*ref].kind != kind)
        return pickle_fail(p, QUIRE_ERR_FORMAT, "the operation needs %s, not %s", pickle_kind(&wanted),
                           pickle_kind(&p->values[*ref]));
    return QUIRE_OK;
}

static quire_status append(struct pickle *p)
{
    uint32_t item = 0, list = 0;
    quire_status status = pickle_pop(p, &item);
    return status == QUIRE_OK ? target(p, VALUE_LIST, &list) : status;
}

static quire_status append_from_mark(struct pickle *p)
{
    const uint32_t *refs = NULL;
    size_t n = 0;
    uint32_t list = 0;
    quire_status status = pickle_pop_mark(p, &refs, &n);
    return status == QUIRE_OK ? target(p, VALUE_LIST, &list) : status;
}

static quire_status set_item(struct pickle *p)
{
    uint32_t value = 0, key = 0, dict = 0;
    quire_status status = pickle_pop(p, &value);
    if (status == QUIRE_OK)
        status = pickle_pop(p, &key);
    if (status == QUIRE_OK)
        status = target(p, VALUE_DICT, &dict);
    return status == QUIRE_OK ? pickle_add_entry(p, dict, key, value) : status;
}

static quire_status set_items_from_mark(struct pickle *p)
{
    const uint32_t *refs = NULL;
    size_t n = 0;
    uint32_t dict = 0;
    quire_status status = pickle_pop_mark(p, &refs, &n);
    if (status == QUIRE_OK)
        status = target(p, VALUE_DICT, &dict);
    if (status == QUIRE_OK && n % 2 != 0)
        status = pickle_fail(p, QUIRE_ERR_FORMAT, "a key without a value");
    for (size_t i = 0; status == QUIRE_OK && i < n; i += 2)
        status = pickle_add_entry(p, dict, refs[i], refs[i + 1]);
    return status;
}

/* A dictionary's attributes, such as a state_dict's _metadata, do not say anything about its tensors. */
static quire_status build(struct pickle *p)
{
    uint32_t attributes = 0, object = 0;
    quire_status status = target(p, VALUE_DICT, &attributes);
    if (status == QUIRE_OK)
        status = pickle_pop(p, &attributes);
    return status == QUIRE_OK ? target(p, VALUE_DICT, &object) : status;
}

static quire_status reduce(struct pickle *p)
{
    uint32_t arguments = 0, callee = 0;
    quire_status status = target(p, VALUE_TUPLE, &arguments);
    if (status == QUIRE_OK)
        status = pickle_pop(p, &arguments);
    if (status == QUIRE_OK)
        status = target(p, VALUE_NAME, &callee);
    if (status == QUIRE_OK)
        status = pickle_pop(p, &callee);
    return status == QUIRE_OK ? pickle_call(p, &p->values[callee], &p->values[arguments]) : status;
}

static quire_status persistent(struct pickle *p)
{
    uint32_t id = 0;
    quire_status status = target(p, VALUE_TUPLE, &id);
    if (status == QUIRE_OK)
        status = pickle_pop(p, &id);
    return status == QUIRE_OK ? pickle_persistent(p, &p->values[id]) : status;
}

static quire_status memo(struct pickle *p, size_t n_place, quire_status (*act)(struct pickle *, uint32_t))
{
    uint32_t place = 0;
    quire_status status = number(p, n_place, &place);
    return status == QUIRE_OK ? act(p, place) : status;
}

static quire_status refuse(struct pickle *p, unsigned code)
{
    const char *name = "unknown";
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (others[i].code == code)
            name = others[i].name;
    return pickle_fail(p, QUIRE_ERR_UNSUPPORTED,
                       "the operation 0x%02x (%s), which a dictionary of tensors does not need", code, name);
}

static quire_status protocol(struct pickle *p)
{
    uint32_t version = 0;
    if (p->at != 0)
        return pickle_fail(p, QUIRE_ERR_FORMAT, "it begins again");
    quire_status status = number(p, 1, &version);
    if (status == QUIRE_OK && version != 2)
        return pickle_fail(
            p, QUIRE_ERR_UNSUPPORTED,
            "it is written in pickle protocol %u, expected 2; save the model again with torch.save and no "
            "pickle_protocol",
            version);
    return status;
}

static quire_status run(struct pickle *p, unsigned code)
{
    switch (code) {
    case PROTO: return protocol(p);
    case MARK: return pickle_mark(p);
    case NONE: return push_kind(p, VALUE_NONE);
    case NEWTRUE:
    case NEWFALSE: return push_kind(p, VALUE_BOOL);
    case BININT: return push_number(p, 4);
    case BININT1: return push_number(p, 1);
    case BININT2: return push_number(p, 2);
    case LONG1: return push_long(p);
    case BINFLOAT: return push_float(p);
    case BINUNICODE: return push_string(p, 4);
    case SHORT_BINSTRING: return push_string(p, 1);
    case EMPTY_TUPLE: return tuple_of(p, 0);
    case TUPLE1: return tuple_of(p, 1);
    case TUPLE2: return tuple_of(p, 2);
    case TUPLE3: return tuple_of(p, 3);
    case TUPLE: return tuple_from_mark(p);
    case EMPTY_LIST: return push_kind(p, VALUE_LIST);
    case APPEND: return append(p);
    case APPENDS: return append_from_mark(p);
    case EMPTY_DICT: return push_kind(p, VALUE_DICT);
    case SETITEM: return set_item(p);
    case SETITEMS: return set_items_from_mark(p);
    case BINPUT: return memo(p, 1, pickle_memo_put);
    case LONG_BINPUT: return memo(p, 4, pickle_memo_put);
    case BINGET: return memo(p, 1, pickle_memo_get);
    case LONG_BINGET: return memo(p, 4, pickle_memo_get);
    case GLOBAL: return global(p, pickle_push_name);
    case INST: return global(p, pickle_refuse_name);
    case STACK_GLOBAL: return refuse_stack_global(p);
    case REDUCE: return reduce(p);
    case BUILD: return build(p);
    case BINPERSID: return persistent(p);
    }
    return refuse(p, code);
}

static quire_status run_all(struct pickle *p)
{
    uint32_t root = 0;
    const unsigned char *code;
    quire_status status = QUIRE_OK;
    while (status == QUIRE_OK) {
        p->at = p->code.at;
        if (!cursor_bytes(&p->code, 1, &code))
            return cut_short(p);
        if (p->at == 0 && *code != PROTO)
            return pickle_fail(p, QUIRE_ERR_FORMAT, "it does not begin with the protocol");
        if (*code == STOP)
            break;
        status = run(p, *code);
    }
    if (status == QUIRE_OK)
        status = pickle_pop(p, &root);
    if (status == QUIRE_OK && (p->stack.n > 0 || p->n_marks > 0 || cursor_left(&p->code) > 0))
        status = pickle_fail(p, QUIRE_ERR_FORMAT, "it ends, but %s",
                             cursor_left(&p->code) > 0 ? "the entry goes on" : "values are left over");
    return status == QUIRE_OK ? pickle_collect(p, &p->values[root]) : status;
}

quire_status pickle_open(struct pickle **out, const unsigned char *data, size_t n, const char *path, quire_error *err)
{
    if (n > PICKLE_MAX_BYTES)
        return quire_fail(err, QUIRE_ERR_UNSUPPORTED, "'%s': its data.pkl has %zu bytes, expected %zu at most", path, n,
                          PICKLE_MAX_BYTES);
    struct pickle *p = mem_calloc(1, sizeof *p, "a pickle", err);
    if (!p)
        return QUIRE_ERR_NO_MEMORY;
    *p = (struct pickle){.code = {.data = data, .n_bytes = n}, .path = path, .err = err};
    quire_status status = run_all(p);
    if (status == QUIRE_OK)
        *out = p;
    else
        pickle_close(p);
    return status;
}

void pickle_close(struct pickle *p)
{
    if (!p)
        return;
    free(p->values);
    free(p->entries);
    free(p->items.items);
    free(p->stack.items);
    free(p->memo.items);
    free(p->tensors);
    free(p);
}

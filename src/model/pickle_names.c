/* The names that a checkpoint may ask for. PyTorch's own reader would import any module and call any function; here a
 * name is a row of this table or an error. */
#include <string.h>

#include "base/printable.h"
#include "pickle_machine.h"

enum role { DICTIONARY, TENSOR, TENSOR_OF_TYPE, PARAMETER, STORAGE, TYPE };

struct pickle_name {
    const char *module, *name;
    enum role role;
    const char *element; /* of a STORAGE or a TYPE; NULL: a storage of bytes, whose tensors bring their type along */
};

static const struct pickle_name names[] = {
    {"collections", "OrderedDict", DICTIONARY, NULL},
    {"torch._utils", "_rebuild_tensor_v2", TENSOR, NULL},
    {"torch._utils", "_rebuild_tensor_v3", TENSOR_OF_TYPE, NULL},
    {"torch._utils", "_rebuild_parameter", PARAMETER, NULL},
    {"torch._utils", "_rebuild_parameter_with_state", PARAMETER, NULL},
    {"torch", "FloatStorage", STORAGE, "F32"},
    {"torch", "HalfStorage", STORAGE, "F16"},
    {"torch", "BFloat16Storage", STORAGE, "BF16"},
    {"torch", "DoubleStorage", STORAGE, "F64"},
    {"torch", "LongStorage", STORAGE, "I64"},
    {"torch", "IntStorage", STORAGE, "I32"},
    {"torch", "ShortStorage", STORAGE, "I16"},
    {"torch", "CharStorage", STORAGE, "I8"},
    {"torch", "ByteStorage", STORAGE, "U8"},
    {"torch", "BoolStorage", STORAGE, "BOOL"},
    {"torch.storage", "UntypedStorage", STORAGE, NULL},
    {"torch", "float32", TYPE, "F32"},
    {"torch", "float16", TYPE, "F16"},
    {"torch", "bfloat16", TYPE, "BF16"},
    {"torch", "float64", TYPE, "F64"},
    {"torch", "int64", TYPE, "I64"},
    {"torch", "int32", TYPE, "I32"},
    {"torch", "int16", TYPE, "I16"},
    {"torch", "int8", TYPE, "I8"},
    {"torch", "uint8", TYPE, "U8"},
    {"torch", "uint16", TYPE, "U16"},
    {"torch", "uint32", TYPE, "U32"},
    {"torch", "uint64", TYPE, "U64"},
    {"torch", "bool", TYPE, "BOOL"},
    {"torch", "complex64", TYPE, "C64"},
    {"torch", "float8_e5m2", TYPE, "F8_E5M2"},
    {"torch", "float8_e4m3fn", TYPE, "F8_E4M3"},
    {"torch", "float8_e8m0fnu", TYPE, "F8_E8M0"},
};

static bool is(const char *text, size_t n, const char *wanted)
{
    return n == strlen(wanted) && memcmp(text, wanted, n) == 0;
}

quire_status pickle_refuse_name(struct pickle *p, const char *module, size_t n_module, const char *name, size_t n_name)
{
    return pickle_fail(p, QUIRE_ERR_UNSUPPORTED,
                       "the file asks for %s.%s, which a dictionary of tensors does not need; nothing was run, but a "
                       "program that loads this file with Python's pickle may run what is in it",
                       printable(module, n_module).text, printable(name, n_name).text);
}

quire_status pickle_push_name(struct pickle *p, const char *module, size_t n_module, const char *name, size_t n_name)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (is(module, n_module, names[i].module) && is(name, n_name, names[i].name))
            return pickle_push(p, (struct value){.kind = VALUE_NAME, .name = &names[i]});
    return pickle_refuse_name(p, module, n_module, name, n_name);
}

static const struct element *element_of(const struct pickle_name *name)
{
    return name->element ? element_named(name->element) : NULL;
}

/* ('storage', type, key, device, number of elements) */
quire_status pickle_persistent(struct pickle *p, const struct value *id)
{
    static const enum value_kind kinds[] = {VALUE_STRING, VALUE_NAME, VALUE_STRING, VALUE_STRING, VALUE_INT};
    bool is_sound = id->n == 5;
    for (size_t i = 0; is_sound && i < 5; i++)
        is_sound = pickle_item(p, id, i)->kind == kinds[i];
    if (!is_sound || !is(pickle_item(p, id, 0)->text, pickle_item(p, id, 0)->n, "storage") ||
        pickle_item(p, id, 1)->name->role != STORAGE || pickle_item(p, id, 4)->integer < 0)
        return pickle_fail(p, QUIRE_ERR_FORMAT,
                           "a persistent id that is not ('storage', type, key, device, number of elements)");
    const struct element *element = element_of(pickle_item(p, id, 1)->name);
    uint64_t n_bytes;
    if (__builtin_mul_overflow((uint64_t)pickle_item(p, id, 4)->integer, element ? element->n_bytes : 1, &n_bytes))
        return pickle_fail(p, QUIRE_ERR_FORMAT, "a storage of %lld elements, more than any file holds",
                           (long long)pickle_item(p, id, 4)->integer);
    return pickle_push(p, (struct value){.kind = VALUE_STORAGE, .first = id->first, .element = element});
}

static quire_status check_numbers(struct pickle *p, const struct value *tuple, const char *what)
{
    if (tuple->kind != VALUE_TUPLE || tuple->n > PICKLE_MAX_DIMS)
        return pickle_fail(p, QUIRE_ERR_FORMAT, "a tensor whose %s is not a tuple of at most %d numbers", what,
                           PICKLE_MAX_DIMS);
    for (size_t i = 0; i < tuple->n; i++)
        if (pickle_item(p, tuple, i)->kind != VALUE_INT || pickle_item(p, tuple, i)->integer < 0)
            return pickle_fail(p, QUIRE_ERR_FORMAT, "a tensor whose %s holds %s, expected whole numbers from 0 up",
                               what,
                               pickle_item(p, tuple, i)->kind == VALUE_INT ? "a negative number"
                                                                           : pickle_kind(pickle_item(p, tuple, i)));
    return QUIRE_OK;
}

/* (storage, offset, size, strides, requires_grad, hooks[, type][, metadata]). The last may say that the tensor is the
 * negative or the conjugate of what is stored. */
static quire_status make_tensor(struct pickle *p, const struct value *a, bool has_type)
{
    size_t n = 6 + has_type;
    const struct value *storage = a->n > 0 ? pickle_item(p, a, 0) : NULL;
    if ((a->n != n && a->n != n + 1) || storage->kind != VALUE_STORAGE || pickle_item(p, a, 1)->kind != VALUE_INT)
        return pickle_fail(p, QUIRE_ERR_FORMAT,
                           "a tensor that is not made from a storage, an offset, a size and strides");
    if (pickle_item(p, a, 1)->integer < 0)
        return pickle_fail(p, QUIRE_ERR_FORMAT, "a tensor with a negative offset");
    if (a->n == n + 1 && pickle_item(p, a, n)->kind != VALUE_NONE &&
        (pickle_item(p, a, n)->kind != VALUE_DICT || pickle_item(p, a, n)->n > 0))
        return pickle_fail(p, QUIRE_ERR_UNSUPPORTED,
                           "a tensor with metadata, by which it may be something else than what is stored");
    quire_status status = check_numbers(p, pickle_item(p, a, 2), "size");
    if (status == QUIRE_OK)
        status = check_numbers(p, pickle_item(p, a, 3), "strides");
    if (status != QUIRE_OK)
        return status;
    if (pickle_item(p, a, 2)->n != pickle_item(p, a, 3)->n)
        return pickle_fail(p, QUIRE_ERR_FORMAT, "a tensor of %u dimensions with %u strides", pickle_item(p, a, 2)->n,
                           pickle_item(p, a, 3)->n);
    const struct value *type = has_type ? pickle_item(p, a, 6) : NULL;
    bool is_typed =
        type ? type->kind == VALUE_NAME && type->name->role == TYPE && !storage->element : storage->element != NULL;
    if (!is_typed)
        return pickle_fail(p, QUIRE_ERR_FORMAT, "a tensor without a type, or with two");
    const struct element *element = type ? element_of(type->name) : storage->element;
    return pickle_push(p, (struct value){.kind = VALUE_TENSOR, .first = a->first, .element = element});
}

quire_status pickle_call(struct pickle *p, const struct value *name, const struct value *arguments)
{
    switch (name->name->role) {
    case DICTIONARY:
        if (arguments->n > 0)
            return pickle_fail(p, QUIRE_ERR_UNSUPPORTED, "a dictionary that is made from something");
        return pickle_push(p, (struct value){.kind = VALUE_DICT});
    case TENSOR: return make_tensor(p, arguments, false);
    case TENSOR_OF_TYPE: return make_tensor(p, arguments, true);
    case PARAMETER: /* (tensor, requires_grad, hooks[, attributes]) */
        if (arguments->n < 3 || arguments->n > 4 || pickle_item(p, arguments, 0)->kind != VALUE_TENSOR)
            return pickle_fail(p, QUIRE_ERR_FORMAT, "a parameter that is not made from a tensor");
        return pickle_push_ref(p, p->items.items[arguments->first]);
    case STORAGE:
    case TYPE: break;
    }
    return pickle_fail(p, QUIRE_ERR_UNSUPPORTED, "%s.%s is called, which only names a type", name->name->module,
                       name->name->name);
}

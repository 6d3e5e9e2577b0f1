#include "torch_bin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/printable.h"
#include "pickle.h"
#include "zip.h"

/* The folder in the archive that everything lies in is named after the file that was saved. */
#define MAX_PREFIX 255
/* Beyond this PyTorch itself refuses. */
#define MAX_VERSION 10

struct parser {
    struct zip zip;
    const char *prefix; /* with its slash; in the file */
    size_t n_prefix;
    struct tensors *tensors;
    const char *path;
    quire_error *err;
};

/* The entry <prefix><name><key>. */
static const struct zip_entry *find(const struct parser *p, const char *name, const char *key, size_t n_key)
{
    char whole[MAX_PREFIX + 128];
    size_t n_name = strlen(name);
    if (n_key > sizeof whole - p->n_prefix - n_name)
        return NULL;
    memcpy(whole, p->prefix, p->n_prefix);
    memcpy(whole + p->n_prefix, name, n_name);
    memcpy(whole + p->n_prefix + n_name, key, n_key);
    return zip_find(&p->zip, whole, p->n_prefix + n_name + n_key);
}

/* The prefix is that of the one data.pkl which lies in a folder of the archive's root. */
static quire_status find_pickle(struct parser *p, const struct zip_entry **out)
{
    static const char name[] = "data.pkl";
    *out = NULL;
    for (size_t i = 0; i < p->zip.n_entries; i++) {
        const struct zip_entry *entry = &p->zip.entries[i];
        const char *slash = memchr(entry->name, '/', entry->n_name);
        size_t n_prefix = slash ? (size_t)(slash - entry->name) + 1 : 0;
        if (n_prefix == 0 || entry->n_name - n_prefix != sizeof name - 1 ||
            memcmp(slash + 1, name, sizeof name - 1) != 0)
            continue;
        if (*out)
            return quire_fail(p->err, QUIRE_ERR_FORMAT, "'%s' has two pickles, '%s' and '%s'", p->path,
                              printable((*out)->name, (*out)->n_name).text, printable(entry->name, entry->n_name).text);
        if (n_prefix > MAX_PREFIX)
            return quire_fail(p->err, QUIRE_ERR_UNSUPPORTED,
                              "'%s' has its pickle in a folder whose name has %zu bytes, "
                              "expected %d at most",
                              p->path, n_prefix - 1, MAX_PREFIX - 1);
        *out = entry;
        p->prefix = entry->name;
        p->n_prefix = n_prefix;
    }
    if (!*out)
        return quire_fail(p->err, QUIRE_ERR_FORMAT,
                          "'%s' is a zip archive without a data.pkl in a folder of its own, as torch.save writes it",
                          p->path);
    return QUIRE_OK;
}

static quire_status check_archive(const struct parser *p)
{
    if (find(p, "constants.pkl", "", 0))
        return quire_fail(p->err, QUIRE_ERR_UNSUPPORTED,
                          "'%s' is a TorchScript program, expected a dictionary of tensors; save the model's "
                          "state_dict() with torch.save",
                          p->path);
    quire_status status = zip_check_stored(&p->zip, p->path, p->err);
    if (status != QUIRE_OK)
        return status;
    const struct zip_entry *order = find(p, "byteorder", "", 0), *version = find(p, "version", "", 0);
    if (order && (order->n_bytes != 6 || memcmp(order->data, "little", 6) != 0))
        return quire_fail(p->err, QUIRE_ERR_UNSUPPORTED,
                          "'%s' says that the byte order of its numbers is '%s', expected 'little'", p->path,
                          printable((const char *)order->data, order->n_bytes).text);
    unsigned number = 0;
    for (size_t i = 0; version && i < version->n_bytes && i < 4 && version->data[i] >= '0' && version->data[i] <= '9';
         i++)
        number = 10 * number + (unsigned)(version->data[i] - '0');
    if (number < 1 || number > MAX_VERSION)
        return quire_fail(p->err, version ? QUIRE_ERR_UNSUPPORTED : QUIRE_ERR_FORMAT,
                          "'%s' has %s entry 'version' of a PyTorch checkpoint, expected a number from 1 to %d in it",
                          p->path, version ? "another" : "no", MAX_VERSION);
    return QUIRE_OK;
}

/* Elements of the tensor, 0 or more, and how many of the storage it reaches to. False where that overflows. */
static bool extent(const struct pickle_tensor *t, uint64_t *n_elements, uint64_t *reach)
{
    uint64_t last = t->offset, step;
    *n_elements = 1;
    for (uint32_t d = 0; d < t->n_dims; d++)
        if (t->dims[d] == 0) {
            *n_elements = 0;
            *reach = 0;
            return true;
        }
    for (uint32_t d = 0; d < t->n_dims; d++)
        if (__builtin_mul_overflow(*n_elements, t->dims[d], n_elements) ||
            __builtin_mul_overflow(t->dims[d] - 1, t->strides[d], &step) || __builtin_add_overflow(last, step, &last))
            return false;
    return !__builtin_add_overflow(last, 1, reach);
}

/* Whether elements follow each other row by row. The stride of a dimension of one element says nothing. */
static bool is_contiguous(const struct pickle_tensor *t)
{
    uint64_t expected = 1;
    for (uint32_t d = t->n_dims; d > 0; d--) {
        if (t->dims[d - 1] != 1 && t->strides[d - 1] != expected)
            return false;
        expected *= t->dims[d - 1]; /* fits: extent has multiplied them */
    }
    return true;
}

static quire_status locate(const struct parser *p, const struct pickle_tensor *t, struct tensor *tensor)
{
    const char *name = tensor->name;
    const struct zip_entry *storage = find(p, "data/", t->storage, t->n_storage);
    if (!storage)
        return quire_fail(p->err, QUIRE_ERR_FORMAT, "'%s' has no storage '%s', in which its tensor '%s' lies", p->path,
                          printable(t->storage, t->n_storage).text, printable(name, t->n_name).text);
    if (t->storage_bytes > storage->n_bytes)
        return quire_fail(p->err, QUIRE_ERR_FORMAT, "'%s': storage '%s' of tensor '%s' has %zu bytes, expected %llu",
                          p->path, printable(t->storage, t->n_storage).text, printable(name, t->n_name).text,
                          storage->n_bytes, (unsigned long long)t->storage_bytes);
    uint64_t n_elements, reach, n_bytes = t->element->n_bytes;
    if (!extent(t, &n_elements, &reach))
        return quire_fail(p->err, QUIRE_ERR_FORMAT, "'%s': tensor '%s' of shape %s has a size that overflows", p->path,
                          printable(name, t->n_name).text, shape_text(t->n_dims, t->dims).text);
    if (reach > t->storage_bytes / n_bytes)
        return quire_fail(p->err, QUIRE_ERR_FORMAT,
                          "'%s': tensor '%s' of shape %s reaches to element %llu of storage '%s', which has %llu",
                          p->path, printable(name, t->n_name).text, shape_text(t->n_dims, t->dims).text,
                          (unsigned long long)reach, printable(t->storage, t->n_storage).text,
                          (unsigned long long)(t->storage_bytes / n_bytes));
    if (n_elements > 0 && !is_contiguous(t)) {
        /* Rows would have to be gathered in memory, as many times the file's size as a hostile one likes. */
        tensor->is_number = false;
        tensor->obstacle = "is a view that does not lie in one piece (a transposed, cut or repeated tensor); load the "
                           "model in PyTorch, call contiguous() on it and save again";
        return QUIRE_OK;
    }
    tensor->data = storage->data + (n_elements > 0 ? t->offset * n_bytes : 0);
    tensor->n_bytes = (size_t)(n_elements * n_bytes);
    return QUIRE_OK;
}

static quire_status add_tensor(struct parser *p, const struct pickle_tensor *t)
{
    struct tensor tensor = {
        .path = p->path,
        .type_name = t->element->name,
        .type = t->element->type,
        .is_number = t->element->is_number,
        .n_dims = t->n_dims,
        .data = p->zip.entries->data,
    };
    memcpy(tensor.dims, t->dims, sizeof tensor.dims);
    tensor.name = mem_calloc(t->n_name + 1, 1, "a tensor's name", p->err);
    if (!tensor.name)
        return QUIRE_ERR_NO_MEMORY;
    memcpy(tensor.name, t->name, t->n_name);
    quire_status status = locate(p, t, &tensor);
    if (status == QUIRE_OK)
        return tensors_add(p->tensors, &tensor, p->err);
    free(tensor.name);
    return status;
}

static quire_status add_all(struct parser *p)
{
    const struct zip_entry *entry;
    struct pickle *pickle = NULL;
    quire_status status = find_pickle(p, &entry);
    if (status == QUIRE_OK)
        status = check_archive(p);
    if (status == QUIRE_OK)
        status = pickle_open(&pickle, entry->data, entry->n_bytes, p->path, p->err);
    for (size_t i = 0; status == QUIRE_OK && i < pickle_n_tensors(pickle); i++) {
        struct pickle_tensor tensor = pickle_tensor_at(pickle, i);
        status = add_tensor(p, &tensor);
    }
    pickle_close(pickle);
    return status;
}

static bool is_legacy(const unsigned char *data, size_t n)
{
    /* Protocol 2, then torch's magic number as a whole number of ten bytes; or a tar archive, years older. */
    static const unsigned char pickled[] = {0x80, 0x02, 0x8A, 0x0A, 0x6C, 0xFC, 0x9C,
                                            0x46, 0xF9, 0x20, 0x6A, 0xA8, 0x50, 0x19};
    return (n >= sizeof pickled && memcmp(data, pickled, sizeof pickled) == 0) ||
           (n >= 262 && memcmp(data + 257, "ustar", 5) == 0);
}

quire_status torch_bin_add(struct tensors *tensors, const unsigned char *data, size_t n, const char *path,
                           quire_error *err)
{
    struct parser parser = {.tensors = tensors, .path = path, .err = err};
    if (is_legacy(data, n))
        return quire_fail(err, QUIRE_ERR_UNSUPPORTED,
                          "'%s' is in the format from before PyTorch 1.6; load it with a newer PyTorch, "
                          "torch.load(FILE, weights_only=True), and save it again with torch.save",
                          path);
    if (!zip_is_zip(data, n))
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' is not a PyTorch checkpoint: it does not begin as a zip archive",
                          path);
    quire_status status = zip_open(&parser.zip, data, n, path, err);
    if (status == QUIRE_OK)
        status = add_all(&parser);
    zip_release(&parser.zip);
    return status;
}

#include "torch_writer.h"

#include <stdio.h>
#include <string.h>

static void add_u16(struct bytes *bytes, unsigned value)
{
    bytes_add(bytes, &value, 2);
}

void zip_add(struct zip_writer *zip, const char *name, const void *data, size_t n)
{
    struct bytes *file = &zip->file, *directory = &zip->directory;
    size_t begin = file->n, n_name = strlen(name), n_pad = 64 - (begin + 30 + n_name + 4) % 64;

    bytes_add(file, "PK\3\4\0\0\10\10\0\0\0\0\0\0", 14);
    bytes_add(file, "\0\0\0\0\0\0\0\0\0\0\0", 12); /* checksum and sizes follow the data */
    add_u16(file, (unsigned)n_name);
    add_u16(file, (unsigned)n_pad + 4);
    bytes_add(file, name, n_name);
    bytes_add(file, "FB", 2);
    add_u16(file, (unsigned)n_pad);
    for (size_t i = 0; i < n_pad; i++)
        bytes_add(file, "Z", 1);
    bytes_add(file, data, n);
    bytes_add(file, "PK\7\10\0\0\0\0", 8);
    bytes_add_u32(file, (uint32_t)n);
    bytes_add_u32(file, (uint32_t)n);

    bytes_add(directory, "PK\1\2\0\0\0\0\10\10\0\0\0\0\0\0\0\0\0", 20);
    bytes_add_u32(directory, (uint32_t)n);
    bytes_add_u32(directory, (uint32_t)n);
    add_u16(directory, (unsigned)n_name);
    bytes_add(directory, "\0\0\0\0\0\0\0\0\0\0\0", 12);
    bytes_add_u32(directory, (uint32_t)begin);
    bytes_add(directory, name, n_name);
    zip->n_entries++;
}

struct bytes zip_finish(struct zip_writer *zip)
{
    struct bytes *file = &zip->file;
    size_t begin = file->n, n_directory = zip->directory.n;
    bytes_add(file, zip->directory.data, n_directory);
    size_t end = file->n;
    bytes_add(file, "PK\6\6\54\0\0\0\0\0\0\0\36\3\55\0\0\0\0\0\0\0\0", 24);
    bytes_add_u64(file, zip->n_entries);
    bytes_add_u64(file, zip->n_entries);
    bytes_add_u64(file, n_directory);
    bytes_add_u64(file, begin);
    bytes_add(file, "PK\6\7\0\0\0", 8);
    bytes_add_u64(file, end);
    bytes_add_u32(file, 1);
    bytes_add(file, "PK\5\6\0\0\0", 8);
    add_u16(file, (unsigned)zip->n_entries);
    add_u16(file, (unsigned)zip->n_entries);
    bytes_add_u32(file, (uint32_t)n_directory);
    bytes_add_u32(file, (uint32_t)begin);
    add_u16(file, 0);
    bytes_release(&zip->directory);
    return *file;
}

static void add_text(struct bytes *pickle, const char *text)
{
    bytes_add(pickle, "X", 1);
    bytes_add_u32(pickle, (uint32_t)strlen(text));
    bytes_add(pickle, text, strlen(text));
}

static void add_number(struct bytes *pickle, uint64_t number)
{
    bytes_add(pickle, "\x8a\x08", 2);
    bytes_add_u64(pickle, number);
}

static void add_line(struct bytes *pickle, const char *line)
{
    bytes_add(pickle, line, strlen(line));
    bytes_add(pickle, "\n", 1);
}

static void add_tensor(struct bytes *pickle, const struct torch_tensor *tensor, size_t key)
{
    char key_text[24];
    uint64_t n_elements = 1, stride = 1;
    for (uint32_t d = 0; d < tensor->n_dims; d++)
        n_elements *= tensor->dims[d];
    snprintf(key_text, sizeof key_text, "%zu", key);
    add_text(pickle, tensor->name);
    add_line(pickle, "ctorch._utils");
    add_line(pickle, "_rebuild_tensor_v2");
    bytes_add(pickle, "((", 2);
    add_text(pickle, "storage");
    add_line(pickle, "ctorch");
    add_line(pickle, tensor->storage);
    add_text(pickle, key_text);
    add_text(pickle, "cpu");
    add_number(pickle, n_elements);
    bytes_add(pickle, "tQK\0(", 5);
    for (uint32_t d = 0; d < tensor->n_dims; d++)
        add_number(pickle, tensor->dims[d]);
    bytes_add(pickle, "t(", 2);
    for (uint32_t d = 0; d < tensor->n_dims; d++)
        stride *= tensor->dims[d];
    for (uint32_t d = 0; d < tensor->n_dims; d++)
        add_number(pickle, stride /= tensor->dims[d] ? tensor->dims[d] : 1);
    bytes_add(pickle, "t\x89h\0)RtR", 8);
}

struct bytes torch_pickle(const struct torch_tensor *tensors, size_t n)
{
    struct bytes pickle = {0};
    bytes_add(&pickle, "\x80\2", 2);
    add_line(&pickle, "ccollections");
    add_line(&pickle, "OrderedDict");
    bytes_add(&pickle, "q\0)R(", 5);
    for (size_t i = 0; i < n; i++)
        add_tensor(&pickle, &tensors[i], tensors[i].shares ? tensors[i].shares - 1 : i);
    bytes_add(&pickle, "u.", 2);
    return pickle;
}

struct bytes torch_archive(struct bytes pickle, const struct torch_tensor *tensors, size_t n)
{
    struct zip_writer zip = {0};
    zip_add(&zip, "archive/data.pkl", pickle.data, pickle.n);
    zip_add(&zip, "archive/byteorder", "little", 6);
    for (size_t i = 0; i < n; i++) {
        char name[64];
        snprintf(name, sizeof name, "archive/data/%zu", i);
        if (!tensors[i].shares)
            zip_add(&zip, name, tensors[i].data, tensors[i].n_bytes);
    }
    zip_add(&zip, "archive/version", "3\n", 2);
    bytes_release(&pickle);
    return zip_finish(&zip);
}

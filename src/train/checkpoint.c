#include "checkpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "model/json.h"
#include "new_file.h"

#define MAGIC      "QUIRECKP"
#define STATE_PART "state"

enum { VERSION = 1, ALIGNMENT = 64 };

struct part_row {
    char name[CHECKPOINT_NAME_SIZE];
    uint64_t offset, n_bytes, hash;
};

struct header {
    char magic[8];
    uint32_t version, n_parts;
    struct part_row parts[CHECKPOINT_MAX_PARTS];
    uint64_t n_bytes; /* of the file */
    uint64_t hash;    /* of what stands before it */
};

/* --- writing ----------------------------------------------------------------------------------------------------- */

static quire_status write_parts(struct new_file *draft, struct header *header, const struct checkpoint_part *parts,
                                quire_error *err)
{
    quire_status status = new_file_reserve(draft, header->n_bytes, err);
    for (uint32_t i = 0; i < header->n_parts && status == QUIRE_OK; i++) {
        header->parts[i].hash = hash64(parts[i].data, parts[i].n_bytes);
        status = new_file_write_at(draft, parts[i].data, parts[i].n_bytes, header->parts[i].offset, err);
    }
    if (status != QUIRE_OK)
        return status;
    header->hash = hash64(header, offsetof(struct header, hash));
    return new_file_write_at(draft, header, sizeof *header, 0, err);
}

quire_status checkpoint_save(const char *path, const json_t *state, const struct checkpoint_part *parts, size_t n_parts,
                             quire_error *err)
{
    struct checkpoint_part all[CHECKPOINT_MAX_PARTS] = {{0}};
    struct header header = {.magic = MAGIC, .version = VERSION, .n_parts = (uint32_t)n_parts + 1};
    struct new_file draft = {.fd = -1};
    char *text = json_dumps(state, JSON_COMPACT | JSON_REAL_PRECISION(17));
    if (!text)
        return quire_fail(err, QUIRE_ERR_NO_MEMORY, "out of memory for a checkpoint's state");
    all[0] = (struct checkpoint_part){STATE_PART, text, strlen(text)};
    memcpy(all + 1, parts, n_parts * sizeof *parts);
    uint64_t at = size_round_up(sizeof header, ALIGNMENT);
    for (uint32_t i = 0; i < header.n_parts; i++) {
        snprintf(header.parts[i].name, sizeof header.parts[i].name, "%s", all[i].name);
        header.parts[i].offset = at;
        header.parts[i].n_bytes = all[i].n_bytes;
        header.n_bytes = at + all[i].n_bytes;
        at = size_round_up(header.n_bytes, ALIGNMENT);
    }
    quire_status status = new_file_open(&draft, path, err);
    if (status == QUIRE_OK)
        status = write_parts(&draft, &header, all, err);
    if (status == QUIRE_OK)
        status = new_file_commit(&draft, err);
    new_file_drop(&draft);
    free(text);
    return status;
}

/* --- reading ----------------------------------------------------------------------------------------------------- */

static quire_status bad(const char *path, const char *what, quire_error *err)
{
    return quire_fail(err, QUIRE_ERR_FORMAT, "the checkpoint '%s' is damaged: %s", path, what);
}

static quire_status check(struct checkpoint *c, quire_error *err)
{
    struct header header;
    if (c->map.n_bytes < sizeof header)
        return bad(c->path, "it is cut short", err);
    memcpy(&header, c->map.data, sizeof header);
    if (memcmp(header.magic, MAGIC, sizeof header.magic) != 0)
        return bad(c->path, "it does not begin as one does", err);
    if (header.version != VERSION)
        return quire_fail(err, QUIRE_ERR_UNSUPPORTED,
                          "the checkpoint '%s' is of version %" PRIu32 ", this build reads %d", c->path, header.version,
                          VERSION);
    if (header.hash != hash64(&header, offsetof(struct header, hash)) || header.n_parts > CHECKPOINT_MAX_PARTS ||
        header.n_parts < 1)
        return bad(c->path, "the checksum of its header", err);
    if (header.n_bytes != c->map.n_bytes)
        return bad(c->path, "it is cut short", err);
    for (uint32_t i = 0; i < header.n_parts; i++) {
        const struct part_row *row = &header.parts[i];
        if (row->offset > c->map.n_bytes || row->n_bytes > c->map.n_bytes - row->offset)
            return bad(c->path, "a part lies outside of it", err);
        memcpy(c->names[i], row->name, sizeof c->names[i]);
        c->names[i][sizeof c->names[i] - 1] = '\0';
        c->parts[i] = (struct checkpoint_part){c->names[i], c->map.data + row->offset, (size_t)row->n_bytes};
        if (hash64(c->parts[i].data, c->parts[i].n_bytes) != row->hash)
            return quire_fail(err, QUIRE_ERR_FORMAT, "the checkpoint '%s' is damaged: the checksum of its part '%s'",
                              c->path, c->names[i]);
    }
    c->n_parts = header.n_parts;
    if (strcmp(c->names[0], STATE_PART) != 0)
        return bad(c->path, "it has no state", err);
    return json_object_parse(&c->state, c->parts[0].data, c->parts[0].n_bytes, c->path, err);
}

quire_status checkpoint_open(struct checkpoint *out, const char *path, quire_error *err)
{
    struct checkpoint *c = out;
    *c = (struct checkpoint){.path = mem_strdup(path, err)};
    quire_status status = c->path ? sys_map_file(&c->map, path, err) : QUIRE_ERR_NO_MEMORY;
    if (status == QUIRE_OK)
        status = check(c, err);
    if (status == QUIRE_OK)
        status = sys_map_check(&c->map, path, err);
    if (status != QUIRE_OK)
        checkpoint_close(c);
    return status;
}

void checkpoint_close(struct checkpoint *checkpoint)
{
    json_decref(checkpoint->state);
    sys_unmap(&checkpoint->map);
    free(checkpoint->path);
    *checkpoint = (struct checkpoint){0};
}

quire_status checkpoint_read(const struct checkpoint *checkpoint, const char *name, void *out, size_t n_bytes,
                             quire_error *err)
{
    for (size_t i = 0; i < checkpoint->n_parts; i++) {
        const struct checkpoint_part *part = &checkpoint->parts[i];
        if (strcmp(part->name, name) != 0)
            continue;
        if (part->n_bytes != n_bytes)
            return quire_fail(err, QUIRE_ERR_FORMAT, "the checkpoint '%s': part '%s' has %zu bytes, expected %zu",
                              checkpoint->path, name, part->n_bytes, n_bytes);
        memcpy(out, part->data, n_bytes);
        return sys_map_check(&checkpoint->map, checkpoint->path, err);
    }
    return quire_fail(err, QUIRE_ERR_FORMAT, "the checkpoint '%s' has no part '%s'", checkpoint->path, name);
}

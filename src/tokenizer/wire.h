/* Protocol Buffers' wire format: the fields of one message in order, never past its end. It knows nothing of the types
 * behind the numbers; a field that a reader does not ask for is passed over. */
#ifndef QUIRE_TOKENIZER_WIRE_H
#define QUIRE_TOKENIZER_WIRE_H

#include "model/cursor.h"

enum wire_type { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

struct wire_field {
    uint32_t number;
    uint32_t type;
    uint64_t value; /* of WIRE_VARINT, WIRE_64 and WIRE_32; of WIRE_BYTES the length */
    const unsigned char *bytes;
};

/* Seven bits a byte, the lowest first; at most ten bytes. */
static inline bool wire_varint(struct cursor *cursor, uint64_t *out)
{
    struct cursor at = *cursor;
    uint64_t value = 0;
    const unsigned char *byte;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (!cursor_bytes(&at, 1, &byte) || (shift == 63 && *byte > 1))
            return false;
        value |= (uint64_t)(*byte & 0x7F) << shift;
        if (*byte < 0x80) {
            *cursor = at;
            *out = value;
            return true;
        }
    }
    return false;
}

/* The next field; false where none starts here, or what does is malformed: the cursor then stays where it was. Groups,
 * which nobody writes any more, are malformed. */
static inline bool wire_next(struct cursor *cursor, struct wire_field *out)
{
    struct cursor at = *cursor;
    struct wire_field field = {0};
    uint64_t key;
    uint32_t word;
    bool is_there = wire_varint(&at, &key) && key >> 3 > 0 && key >> 3 <= 0x1FFFFFFF;
    if (!is_there)
        return false;
    field.number = (uint32_t)(key >> 3);
    field.type = key & 7;
    switch (field.type) {
    case WIRE_VARINT: is_there = wire_varint(&at, &field.value); break;
    case WIRE_64: is_there = cursor_u64(&at, &field.value); break;
    case WIRE_BYTES: is_there = wire_varint(&at, &field.value) && cursor_bytes(&at, field.value, &field.bytes); break;
    case WIRE_32:
        is_there = cursor_u32(&at, &word);
        field.value = is_there ? word : 0;
        break;
    default: return false;
    }
    if (!is_there)
        return false;
    *cursor = at;
    *out = field;
    return true;
}

#endif

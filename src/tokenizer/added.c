#include "added.h"

static uint32_t find_child(const struct added *added, uint32_t node, uint8_t byte)
{
    uint32_t child = added->nodes[node].child;
    while (child != 0 && added->nodes[child].byte != byte)
        child = added->nodes[child].sibling;
    return child;
}

static uint32_t add_node(struct added *added, uint32_t parent, uint8_t byte)
{
    uint32_t node = (uint32_t)added->n_nodes++;
    added->nodes[node] = (struct added_node){.id = -1, .byte = byte};
    if (parent == 0) {
        added->roots[byte] = node;
    } else {
        added->nodes[node].sibling = added->nodes[parent].child;
        added->nodes[parent].child = node;
    }
    return node;
}

quire_status added_insert(struct added *added, const uint8_t *bytes, size_t n, int32_t id, quire_error *err)
{
    size_t need = size_max(added->n_nodes, 1) + n;
    quire_status status =
        need > UINT32_MAX
            ? quire_fail(err, QUIRE_ERR_NO_MEMORY, "the added tokens have too many bytes in all")
            : mem_reserve(&added->nodes, &added->capacity, need, sizeof added->nodes[0], "added tokens", err);
    if (status != QUIRE_OK)
        return status;
    if (added->n_nodes == 0)
        added->nodes[added->n_nodes++] = (struct added_node){.id = -1};
    uint32_t node = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t next = i == 0 ? added->roots[bytes[0]] : find_child(added, node, bytes[i]);
        node = next != 0 ? next : add_node(added, node, bytes[i]);
    }
    if (added->nodes[node].id < 0)
        added->nodes[node].id = id;
    added->longest = size_max(added->longest, n);
    return QUIRE_OK;
}

void added_release(struct added *added)
{
    free(added->nodes);
    *added = (struct added){0};
}

/* The length of the longest token at the start of text, 0: none. *is_open: the text ended where a longer one may go on.
 */
static size_t match(const struct added *added, const uint8_t *text, size_t n, int32_t *id, bool *is_open)
{
    size_t length = 0, depth = 1;
    uint32_t node = added->roots[text[0]];
    *is_open = false;
    while (node != 0) {
        if (added->nodes[node].id >= 0) {
            length = depth;
            *id = added->nodes[node].id;
        }
        if (depth == n) {
            *is_open = added->nodes[node].child != 0;
            break;
        }
        node = find_child(added, node, text[depth++]);
    }
    return length;
}

/* Looks for tokens that start below `limit` and gives what is certain. *n_done: where the undecided rest starts; at
 * limit or behind it where there is none. */
static quire_status scan(const struct added *added, const uint8_t *text, size_t n, size_t limit, bool is_end,
                         const struct sink *sink, size_t *n_done, quire_error *err)
{
    quire_status status = QUIRE_OK;
    size_t plain = 0, at = 0; /* text[plain..at) is no token and waits to be given */
    while (at < limit) {
        int32_t id = -1;
        bool is_open = false;
        size_t length = added->roots[text[at]] ? match(added, text + at, n - at, &id, &is_open) : 0;
        if (is_open && !is_end)
            break;
        if (length == 0) {
            at++;
            continue;
        }
        if (at > plain)
            status = sink->text(sink->context, text + plain, at - plain, err);
        if (status == QUIRE_OK)
            status = sink->token(sink->context, id, err);
        if (status != QUIRE_OK)
            return status;
        at += length;
        plain = at;
    }
    *n_done = at;
    return at > plain ? sink->text(sink->context, text + plain, at - plain, err) : QUIRE_OK;
}

void added_search_init(struct added_search *search, const struct added *added)
{
    search->added = added;
    search->n_held = 0;
}

quire_status added_search_feed(struct added_search *search, const uint8_t *text, size_t n, const struct sink *sink,
                               quire_error *err)
{
    const struct added *added = search->added;
    if (added->longest == 0)
        return n > 0 ? sink->text(sink->context, text, n, err) : QUIRE_OK;
    size_t n_done = 0;
    if (search->n_held > 0) {
        /* What starts in the held bytes ends within `longest` bytes of the new ones. */
        size_t n_taken = size_min(n, added->longest);
        memcpy(search->held + search->n_held, text, n_taken);
        quire_status status =
            scan(added, search->held, search->n_held + n_taken, search->n_held, false, sink, &n_done, err);
        if (status != QUIRE_OK)
            return status;
        if (n_done < search->n_held) { /* still open, so all new bytes are among those held */
            search->n_held += n_taken - n_done;
            memmove(search->held, search->held + n_done, search->n_held);
            return QUIRE_OK;
        }
        n_done -= search->n_held;
        search->n_held = 0;
        text += n_done;
        n -= n_done;
    }
    quire_status status = scan(added, text, n, n, false, sink, &n_done, err);
    if (status != QUIRE_OK)
        return status;
    search->n_held = n - n_done;
    memcpy(search->held, text + n_done, search->n_held);
    return QUIRE_OK;
}

quire_status added_search_finish(struct added_search *search, const struct sink *sink, quire_error *err)
{
    size_t n_held = search->n_held, n_done;
    search->n_held = 0;
    return scan(search->added, search->held, n_held, n_held, true, sink, &n_done, err);
}

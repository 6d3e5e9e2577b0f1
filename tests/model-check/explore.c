#include "explore.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

struct origin {
    uint32_t from;
    const char *what;
};

struct explorer {
    size_t state_bytes;
    unsigned char *states;  /* [n], in the order they were found */
    struct origin *origins; /* [n] */
    size_t n, capacity, n_transitions;
    uint32_t *table; /* [n_slots] index + 1 of a state, by its hash */
    size_t n_slots;
    size_t at; /* the state that is expanded */
    explorer_check check;
    const char *violation;
};

static void *grow(void *memory, size_t n, size_t item_bytes)
{
    void *grown = realloc(memory, n * item_bytes);
    if (!grown) {
        fprintf(stderr, "out of memory for %zu states\n", n);
        exit(1);
    }
    return grown;
}

static const unsigned char *state_at(const struct explorer *e, size_t index)
{
    return e->states + index * e->state_bytes;
}

/* The slot of an equal state, or the free one where it belongs. */
static size_t find_slot(const struct explorer *e, const void *state)
{
    size_t slot = hash64(state, e->state_bytes) % e->n_slots;
    while (e->table[slot] && memcmp(state_at(e, e->table[slot] - 1), state, e->state_bytes) != 0)
        slot = (slot + 1) % e->n_slots;
    return slot;
}

static void make_room(struct explorer *e)
{
    if (e->n < e->capacity)
        return;
    e->capacity = e->capacity ? 2 * e->capacity : 1 << 14;
    e->n_slots = 2 * e->capacity;
    e->states = grow(e->states, e->capacity, e->state_bytes);
    e->origins = grow(e->origins, e->capacity, sizeof *e->origins);
    free(e->table);
    e->table = grow(NULL, e->n_slots, sizeof *e->table);
    memset(e->table, 0, e->n_slots * sizeof *e->table);
    for (size_t i = 0; i < e->n; i++)
        e->table[find_slot(e, state_at(e, i))] = (uint32_t)(i + 1);
}

void explorer_add(struct explorer *e, const void *state, const char *what)
{
    e->n_transitions++;
    make_room(e);
    size_t slot = find_slot(e, state);
    if (e->table[slot] || e->violation)
        return;
    memcpy(e->states + e->n * e->state_bytes, state, e->state_bytes);
    e->origins[e->n] = (struct origin){(uint32_t)e->at, what};
    e->table[slot] = (uint32_t)++e->n;
    e->violation = e->check(state);
}

static void print_way(const struct explorer *e, size_t index)
{
    if (index == 0)
        return;
    print_way(e, e->origins[index].from);
    printf("       %s\n", e->origins[index].what);
}

struct explored explore(const void *start, size_t state_bytes, explorer_expand expand, const void *argument,
                        explorer_check check, int prints_way)
{
    struct explorer e = {.state_bytes = state_bytes, .check = check};
    unsigned char *state = grow(NULL, 1, state_bytes);
    explorer_add(&e, start, "");
    for (; e.at < e.n && !e.violation; e.at++) {
        memcpy(state, state_at(&e, e.at), state_bytes); /* the array moves as it grows */
        expand(&e, state, argument);
    }
    if (e.violation && prints_way) {
        print_way(&e, e.n - 1);
        printf("       -> %s\n", e.violation);
    }
    struct explored explored = {e.n, e.n_transitions, e.violation};
    free(state);
    free(e.states);
    free(e.origins);
    free(e.table);
    return explored;
}

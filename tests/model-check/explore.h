/* Visits all states of a machine, breadth first, so that the way to a violation is a shortest one. A state is a piece
 * of memory without padding, of which equal bytes mean equal states. */
#ifndef QUIRE_TESTS_EXPLORE_H
#define QUIRE_TESTS_EXPLORE_H

#include <stddef.h>

struct explorer;

/* Calls explorer_add for every state that follows on this one. */
typedef void (*explorer_expand)(struct explorer *explorer, const void *state, const void *argument);

/* What is wrong in a state, or NULL. */
typedef const char *(*explorer_check)(const void *state);

/* what: of the step, for the way to a violation; static storage. */
void explorer_add(struct explorer *explorer, const void *state, const char *what);

struct explored {
    size_t n_states, n_transitions;
    const char *violation; /* the first, where the search ended; NULL: none */
};

struct explored explore(const void *start, size_t state_bytes, explorer_expand expand, const void *argument,
                        explorer_check check, int prints_way);

#endif

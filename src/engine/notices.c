#include "notices.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void notices_add(struct notices *notices, const char *text)
{
    if (!text || *text == '\0')
        return;
    for (size_t i = 0; i < notices->n; i++)
        if (strcmp(notices->texts[i], text) == 0)
            return;
    char *copy = mem_strdup(text, NULL);
    if (copy && mem_reserve(&notices->texts, &notices->capacity, notices->n + 1, sizeof *notices->texts, "notices",
                            NULL) == QUIRE_OK)
        notices->texts[notices->n++] = copy;
    else
        free(copy);
}

void notices_release(struct notices *notices)
{
    for (size_t i = 0; i < notices->n; i++)
        free(notices->texts[i]);
    free(notices->texts);
    *notices = (struct notices){0};
}

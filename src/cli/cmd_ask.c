#include "command.h"
#include "generate.h"

enum exit_code cmd_ask(const struct options *o)
{
    size_t n_documents = o->n_arguments - 1; /* the last one is the question */
    return generate(o, QUIRE_TASK_ASK, o->arguments[n_documents], n_documents);
}

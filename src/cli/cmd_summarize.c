#include "command.h"
#include "generate.h"

enum exit_code cmd_summarize(const struct options *o)
{
    return generate(o, QUIRE_TASK_SUMMARIZE, NULL, o->n_arguments);
}

#include "command.h"
#include "generate.h"

enum exit_code cmd_continue(const struct options *o)
{
    return generate(o, QUIRE_TASK_CONTINUE, o->prompt, o->n_arguments);
}

/* quire: the program. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "help.h"
#include "interrupt.h"

/* A program started with a standard stream closed would get that number for the next file that it opens, and write its
 * text into a model or a store. What stands in for the stream fails when it is used. */
static void hold_standard_streams(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) < 0)
            _exit(EXIT_FAILED);
}

int main(int argc, char **argv)
{
    struct options options;
    enum command_id command;
    quire_error err = {0};
    hold_standard_streams();
    interrupt_install();
    if (argc == 2 && strcmp(argv[1], "--list-options") == 0) {
        options = options_defaults(COMMAND_HELP);
        return command_show(&options, help_list());
    }
    if (options_parse(&options, argc, argv, &command, &err) != QUIRE_OK)
        return command_refuse(command, &err);
    return command_run(&options);
}

#include "folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "model/source.h"

static quire_status cannot_list(const char *folder, quire_error *err)
{
    return quire_fail(err, QUIRE_ERR_IO, "cannot list '%s': %s", folder, strerror(errno));
}

quire_status folder_each(const char *folder,
                         quire_status (*visit)(void *user, const char *path, const char *name, quire_error *err),
                         void *user, quire_error *err)
{
    int fd = sys.open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    DIR *list = fd < 0 ? NULL : sys.fdopendir(fd);
    if (!list) {
        quire_status status = cannot_list(folder, err);
        if (fd >= 0)
            sys.close(fd);
        return status;
    }
    quire_status status = QUIRE_OK;
    errno = 0;
    for (struct dirent *entry; status == QUIRE_OK && (entry = sys.readdir(list)); errno = 0) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        char *path = path_join(folder, entry->d_name, err);
        status = path ? visit(user, path, entry->d_name, err) : QUIRE_ERR_NO_MEMORY;
        free(path);
    }
    if (status == QUIRE_OK && errno != 0)
        status = cannot_list(folder, err);
    closedir(list);
    return status;
}

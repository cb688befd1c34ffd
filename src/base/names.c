/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names in /dev/shm (names.h).
 *
 * Nothing here waits, except slr_name_lock(): another process may be removing the same name, and is
 * waited for no longer than UNLINK_WAIT.
 */
#define _GNU_SOURCE
#include "base/names.h"

#include "base/os.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define UNLINK_WAIT INT64_C(1000000000) /* ns */
#define DIGITS 32                       /* of a uuid */

/* ---- rules and paths ---- */

static bool is_name_byte(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-' || c == '+';
}

/* Length of a good name, 0 of a bad one. */
static size_t name_length(const char *name)
{
    size_t length = 0;
    while (length <= SLIPRING_NAME_MAX && name[length] != '\0') {
        if (!is_name_byte(name[length])) {
            return 0;
        }
        length++;
    }
    return length > SLIPRING_NAME_MAX || name[0] == '.' ? 0 : length;
}

int slr_name_check(const char *name, struct slipring_error *error)
{
    if (name == NULL || name_length(name) == 0) {
        return slr_fail(error, -EINVAL, "name",
                        "the name breaks the rule: 1 to %d characters of A-Z a-z 0-9 . _ - +, not "
                        "beginning with a dot",
                        SLIPRING_NAME_MAX);
    }
    return 0;
}

void slr_name_control_path(const char *name, char path[SLR_PATH_BYTES])
{
    snprintf(path, SLR_PATH_BYTES, SLR_SHM "/%s", name);
}

void slr_name_data_path(const char *name, const uint8_t uuid[16], char path[SLR_PATH_BYTES])
{
    int length = snprintf(path, SLR_PATH_BYTES, SLR_SHM "/.%s.", name);
    for (int i = 0; i < 16; i++, length += 2) {
        snprintf(path + length, (size_t)(SLR_PATH_BYTES - length), "%02x", uuid[i]);
    }
}

static int digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool slr_name_split(const char *file, char name[SLIPRING_NAME_MAX + 1], uint8_t uuid[16])
{
    const size_t length = strlen(file);
    if (length < DIGITS + 3 || length - DIGITS - 2 > SLIPRING_NAME_MAX || file[0] != '.' ||
        file[length - DIGITS - 1] != '.') {
        return false;
    }
    for (int i = 0; i < 16; i++) {
        const int high = digit(file[length - DIGITS + 2 * (size_t)i]);
        const int low = digit(file[length - DIGITS + 2 * (size_t)i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        uuid[i] = (uint8_t)(high << 4 | low);
    }
    memcpy(name, file + 1, length - DIGITS - 2);
    name[length - DIGITS - 2] = '\0';
    return name_length(name) != 0;
}

/* ---- what a name leads to ---- */

int slr_name_leads_to(const char *name, dev_t device, ino_t inode)
{
    char path[SLR_PATH_BYTES];
    struct stat status;
    slr_name_control_path(name, path);
    if (lstat(path, &status) < 0) {
        return errno == ENOENT ? 0 : -errno;
    }
    return status.st_dev == device && status.st_ino == inode;
}

void slr_name_of(int control_fd, char name[SLIPRING_NAME_MAX + 1])
{
    char link[40], path[SLR_PATH_BYTES];
    struct stat status;
    snprintf(link, sizeof link, "/proc/self/fd/%d", control_fd);
    const ssize_t length = readlink(link, path, sizeof path - 1);
    const size_t directory = strlen(SLR_SHM "/");

    name[0] = '\0';
    if (length <= (ssize_t)directory || strncmp(path, SLR_SHM "/", directory) != 0) {
        return;
    }
    path[length] = '\0';
    if (name_length(path + directory) != 0 && fstat(control_fd, &status) == 0 &&
        slr_name_leads_to(path + directory, status.st_dev, status.st_ino) == 1) {
        strcpy(name, path + directory);
    }
}

int slr_name_lock(const char *name, int control_fd)
{
    struct stat status;
    if (fstat(control_fd, &status) < 0) {
        return -errno;
    }
    const int code = slr_os_lock_wait(control_fd, SLR_LOCK_UNLINK, slr_os_now() + UNLINK_WAIT);
    if (code < 0) {
        return code;
    }
    const int leads = slr_name_leads_to(name, status.st_dev, status.st_ino);
    if (leads != 1) {
        slr_os_unlock(control_fd, SLR_LOCK_UNLINK);
        return leads < 0 ? leads : -ENOENT;
    }
    return 0;
}

void slr_name_unlock(int control_fd)
{
    slr_os_unlock(control_fd, SLR_LOCK_UNLINK);
}

/* ---- the directory ---- */

void slr_file_names_free(struct slr_file_names *files)
{
    for (size_t i = 0; i < files->count; i++) {
        free(files->names[i]);
    }
    free(files->names);
    memset(files, 0, sizeof *files);
}

static int add_file(struct slr_file_names *files, const char *name)
{
    if (files->count == files->room) {
        const size_t room = files->room == 0 ? 64 : 2 * files->room;
        char **names = realloc(files->names, room * sizeof *names);
        if (names == NULL) {
            return -ENOMEM;
        }
        files->names = names;
        files->room = room;
    }
    files->names[files->count] = strdup(name);
    if (files->names[files->count] == NULL) {
        return -ENOMEM;
    }
    files->count++;
    return 0;
}

int slr_file_names_read(struct slr_file_names *files)
{
    int code = 0;
    memset(files, 0, sizeof *files);
    const int fd = slr_os_open(SLR_SHM, O_RDONLY | O_DIRECTORY);
    if (fd < 0) {
        return fd;
    }
    DIR *directory = fdopendir(fd);
    if (directory == NULL) {
        code = -errno;
        close(fd);
        return code;
    }
    while (code == 0) {
        errno = 0;
        const struct dirent *entry = readdir(directory);
        if (entry == NULL) {
            code = -errno;
            break;
        }
        code = add_file(files, entry->d_name);
    }
    closedir(directory);
    if (code < 0) {
        slr_file_names_free(files);
    }
    return code;
}

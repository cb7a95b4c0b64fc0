/*
 * node/api/web.h - the ward app's files, as they lie in the program (made by node/web/embed.cmake).
 *
 * No file of the app comes from anywhere else: a ward works with it when nothing else works.
 */
#ifndef NODE_API_WEB_H
#define NODE_API_WEB_H

#include <stddef.h>

struct api_web_file {
    const char *name, *type;
    const char *etag; /* with its quotes */
    const unsigned char *data;
    size_t len;
};
extern const struct api_web_file api_web_files[];
extern const size_t api_web_file_count;

#endif

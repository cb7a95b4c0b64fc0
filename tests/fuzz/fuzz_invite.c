/* A pasted line of any content: refused, or an invite whose parts say the same line again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/cli/invite.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct node_invite invite = {.port = -1};
    struct base_err err = {0};
    char *text = malloc(size + 1);
    if (text == NULL)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (node_invite_read(&invite, text, &err) != 0) {
        BASE_ASSERT(err.code == BASE_EINVALID);
    } else {
        size_t host = strlen(invite.host);
        size_t token = strlen(invite.token);
        BASE_ASSERT(invite.port >= 1 && invite.port <= 65535);
        BASE_ASSERT(memcmp(text + 4, invite.host, host) == 0);
        BASE_ASSERT(strcmp(text + strlen(text) - token, invite.token) == 0);
    }
    free(text);
    return 0;
}

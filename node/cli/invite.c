#include "node/cli/invite.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sync/seal/seal.h"

/* ew1:<host>:<port>:<64 hex>:<token>, read from the right because an IPv6 host holds colons. */
int node_invite_read(struct node_invite *out, const char *text, struct base_err *err)
{
    static const char hint[] = "the invite must be the whole line that `everward-gateway node "
                               "invite` printed (ew1:host:port:fingerprint:token)";
    const char *token = strrchr(text, ':');
    if (strncmp(text, "ew1:", 4) != 0 || token == NULL || token - text < 4 + 64 + 1 ||
        token[-65] != ':')
        return base_fail(err, BASE_EINVALID, "%s", hint);
    const char *fingerprint = token - 64;
    const char *port = fingerprint - 2;
    while (port > text + 4 && isdigit((unsigned char)*port))
        port--;
    const char *host = text + 4;
    if (*port != ':' || port <= host || port - host > NODE_INVITE_HOST_BYTES_MAX ||
        strlen(token + 1) > NODE_INVITE_TOKEN_BYTES_MAX || token[1] == '\0' ||
        !seal_hex_decode(out->ca, sizeof out->ca, fingerprint, 64))
        return base_fail(err, BASE_EINVALID, "%s", hint);
    long number = strtol(port + 1, NULL, 10);
    if (number < 1 || number > 65535)
        return base_fail(err, BASE_EINVALID, "the invite's port is not a port");
    out->port = (int)number;
    (void)snprintf(out->host, sizeof out->host, "%.*s", (int)(port - host), host);
    (void)snprintf(out->token, sizeof out->token, "%s", token + 1);
    return 0;
}

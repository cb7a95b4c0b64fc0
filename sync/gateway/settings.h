/*
 * sync/gateway/settings.h - the gateway's settings, and how a command finds its configuration.
 */
#ifndef SYNC_GATEWAY_SETTINGS_H
#define SYNC_GATEWAY_SETTINGS_H

#include "sync/base/config.h"

#define GW_CONFIG_PATH "/etc/everward/everward-gateway.conf"

extern const struct base_setting gw_settings[];

/* path NULL: GW_CONFIG_PATH if it is there, else defaults and environment alone. *used: the file
 * that was read, or "" (points to path or to a constant). */
int gw_config_load(struct base_config **out, const char *path, const char **used,
                   struct base_err *err);

#endif

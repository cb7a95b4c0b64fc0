/*
 * node/cli/settings.h - every setting of the node, in one table (packaging/samples/everward.conf shows them).
 */
#ifndef NODE_CLI_SETTINGS_H
#define NODE_CLI_SETTINGS_H

#include "sync/base/config.h"

#define NODE_CONFIG_PATH "/etc/everward/everward.conf"

extern const struct base_setting node_settings[];

#endif

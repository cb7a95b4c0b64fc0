/*
 * sync/gateway/fhir/fhir.h - what the command line needs of the FHIR import: `import fhir`.
 */
#ifndef SYNC_GATEWAY_FHIR_FHIR_H
#define SYNC_GATEWAY_FHIR_FHIR_H

struct gw_cli;

/* Loads the command's words (files and folders) into the tenant and prints the report. Exit code:
 * 1 if anything was refused or the import could not go on, else 0. */
int gw_import(struct gw_cli *cli, const char *tenant);

#endif

# cmake -DOUT=file.c -DHOSPITAL=… -DCATALOG=… -P embed.cmake: both as C arrays.
cmake_minimum_required(VERSION 3.22)
foreach(name HOSPITAL CATALOG)
  file(READ ${${name}} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," ${name}_BYTES "${hex}")
endforeach()
file(CONFIGURE OUTPUT ${OUT} @ONLY CONTENT "#include \"node/cli/training.h\"\n
const unsigned char training_hospital[] = {@HOSPITAL_BYTES@0};
const size_t training_hospital_len = sizeof training_hospital - 1;
const unsigned char training_catalog[] = {@CATALOG_BYTES@0};
const size_t training_catalog_len = sizeof training_catalog - 1;
")

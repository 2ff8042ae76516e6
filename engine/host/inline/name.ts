/** What messages call the host. */
export const HOST_NAME: string = "runtime";

/** Unpacks the browser that an npm package carries into the folder for temporary files. */
import chromium from "@sparticuz/chromium";

console.log(await chromium.executablePath());

// A real OpenID provider (the npm package oidc-provider). Prints `listening PORT`; a client that asks
// /token with the credentials "app" and "s3cr3t" and the resource urn:chat gets a JSON Web Token.
import { createServer } from "node:http";
import { Provider } from "oidc-provider";

const server = createServer((request, response) => handle(request, response));
let handle;
server.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => {
  const { port } = server.address();
  const provider = new Provider(`http://127.0.0.1:${port}`, {
    clients: [
      {
        client_id: "app",
        client_secret: "s3cr3t",
        grant_types: ["client_credentials"],
        redirect_uris: [],
        response_types: [],
      },
    ],
    features: {
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: () => ({
          scope: "chat",
          audience: "urn:chat",
          accessTokenFormat: "jwt",
          accessTokenTTL: 600,
        }),
      },
    },
  });
  handle = provider.callback();
  console.log("listening", port);
});
